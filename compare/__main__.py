"""`python -m compare` is `bn-compare`."""

from compare.cli import main

if __name__ == "__main__":
    main()
