#!/bin/sh
# Print the path of the newest Python that can make the virtual environment, or say what is missing.
# Usage: find_python.sh OLDEST NEWEST [CANDIDATE...]    e.g. find_python.sh 3.10 3.99 python3.12 python3
# A name on PATH proves nothing: a version manager's shim may answer "not installed", and Debian splits venv off.
set -eu
oldest=$1 newest=$2
shift 2

probe='
import sys
bound = lambda text: tuple(int(part) for part in text.split("."))
if not bound(sys.argv[1]) <= sys.version_info[:2] <= bound(sys.argv[2]):
    sys.exit(1)
import ensurepip, venv
print(sys.executable)
'
for candidate in "$@"; do
    if found=$("$candidate" -c "$probe" "$oldest" "$newest" 2>/dev/null); then
        echo "$found"
        exit 0
    fi
done
echo "No suitable Python: need $oldest to $newest with venv and ensurepip (Debian and Ubuntu: apt install python3-venv)." >&2
echo "Tried: $*. Name another one with PYTHON=/path/to/python." >&2
exit 1
