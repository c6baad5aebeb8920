#!/bin/sh
# make-venv.sh PYTHON DIRECTORY: make a virtual environment, fetching Debian's venv package first where root may.
set -u
python=$1
directory=$2
"$python" -m venv "$directory" >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null
fi
"$python" -m venv "$directory" || {
    echo "error: $python can't make a virtual environment. On Debian: apt-get install python3-venv" >&2
    exit 1
}
