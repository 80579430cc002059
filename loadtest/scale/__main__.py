"""`python -m loadtest.scale`."""

import sys

from loadtest.scale.run import main

if __name__ == "__main__":
    sys.exit(main())
