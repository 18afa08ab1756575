"""Pre-training: configuration, data on the device, the loop, checkpoints and logs."""
