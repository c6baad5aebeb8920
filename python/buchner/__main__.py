"""`python -m buchner`: the command line."""

from buchner.cli import main

if __name__ == "__main__":
    main()
