"""Collections decoded once, to be cropped from memory maps: `byol-a pack`."""
