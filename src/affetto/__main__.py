"""`python -m affetto` is the command `affetto`."""

from affetto.cli.app import main

if __name__ == "__main__":
    main()
