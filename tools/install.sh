#!/bin/sh
# Make the virtual environment VENV with PYTHON if it is missing, and install into it. One line of output if all goes well.
# Usage: install.sh PYTHON VENV PIP_ARGUMENT...
set -eu
python=$1 venv=$2
shift 2

printf 'Installing into %s (%s): a minute or two the first time ... ' "$venv" "$*"
started=$(date +%s)
if ! "$venv/bin/python" -c '' 2>/dev/null; then
    "$python" -m venv --clear "$venv"
fi
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" >"$venv/install.log" 2>&1; then
    printf 'failed:\n' >&2
    tail -n 15 "$venv/install.log" >&2
    echo "The full log is $venv/install.log" >&2
    exit 1
fi
echo "done in $(($(date +%s) - started)) s"
