"""Looking into every file of a collection once: `byol-a scan`."""
