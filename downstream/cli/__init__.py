"""The commands that score: each module holds one and imports nothing heavy until it is called."""
