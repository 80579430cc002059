"""`python -m loadtest.encoders`."""

from loadtest.encoders.compare import main

if __name__ == "__main__":
    main()
