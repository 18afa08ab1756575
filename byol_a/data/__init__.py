"""Audio in: finding files, reading them, cropping them at random, and reporting the unusable ones."""
