#!/usr/bin/env bash
# Makes sure there is a Python with the Kubernetes client library of requirements.txt, and prints
# where it is (the last line of stdout). Exit code 3: this machine cannot have one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

need python3 "install Python 3.10 or newer, the tests drive its Kubernetes client"
need flock "install util-linux"
need sha256sum "install coreutils"

version=$(python3 -c 'import sys; print(sys.executable, sys.version)')
venv="$cache_root/python/$({ cat "$here/requirements.txt"; echo "$version"; } | digest)"

# The mark is made last: a venv that an interruption left half done is made again.
if [ ! -e "$venv/.done" ]; then
  lock "$cache_root/python"
fi
if [ ! -e "$venv/.done" ]; then
  say "installing the Python client (once) ..."
  rm -rf "$venv"
  python3 -m venv "$venv" || die 3 "python3 -m venv failed (on Debian: install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$here/requirements.txt" >&2 || die 1 "installing requirements.txt failed"
  touch "$venv/.done"
fi
echo "$venv/bin/python"
