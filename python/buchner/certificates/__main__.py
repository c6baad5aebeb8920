"""The process that keeps certificates: `python -m buchner.certificates --control-fd N`, started by the supervisor."""

from __future__ import annotations

import sys

from buchner.certificates.process import main

if __name__ == "__main__":
    sys.exit(main())
