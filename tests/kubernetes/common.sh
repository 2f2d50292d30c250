# What build.sh and python.sh share: where things are kept, and how they fail.
# shellcheck shell=bash

# shellcheck disable=SC2034 # used by the scripts that source this
cache_root="${CI_TUNNEL_CACHE:-${XDG_CACHE_HOME:-${HOME:?neither CI_TUNNEL_CACHE nor HOME is set}/.cache}/ci-tunnel}"

# Exit codes: 1 a build failed, 2 wrong arguments, 3 this machine lacks a tool.
die() {
  local code=$1
  shift
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$code"
}

need() {
  command -v "$1" >/dev/null 2>&1 || die 3 "$1 not found: $2"
}

say() {
  printf '%s\n' "$*" >&2
}

# A short name for what is on standard input.
digest() {
  sha256sum | cut -c1-16
}

# Holds the lock of the folder $1 until the script ends.
lock() {
  mkdir -p "$1"
  exec 9>"$1/.lock"
  flock 9
}
