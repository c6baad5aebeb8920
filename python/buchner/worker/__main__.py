"""`python -m buchner.worker`: the program of a worker process, started by the supervisor."""

import sys

from buchner.worker.main import main

if __name__ == "__main__":
    sys.exit(main())
