"""`python -m byol_a` is the command `byol-a`."""

from byol_a.cli import main

if __name__ == "__main__":
    main()
