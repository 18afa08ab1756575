"""Recipes: settings as YAML, no code. `byol-a recipes` lists them."""
