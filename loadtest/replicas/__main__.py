import sys

from loadtest.replicas.run import main

if __name__ == "__main__":
    sys.exit(main())
