#!/bin/sh
# Print the newest Python that can build and run this project; say what to do when there is none.
set -u
for name in python3.15 python3.14 python3.13 python3.12 python3.11 python3; do
    found=$(command -v "$name" 2>/dev/null) || continue
    if "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$found"
        exit 0
    fi
done
echo "error: no Python 3.11 or newer on PATH. On Debian: apt-get install python3 python3-venv python3-dev" >&2
exit 1
