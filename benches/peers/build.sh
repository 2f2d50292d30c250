#!/usr/bin/env bash
# Builds the peers that the benchmarks compare with, at the versions pinned below and in the go.mod files beside this
# script, and prints a line for each that is there: its name, version and folder.
#
#   build.sh          builds what is missing; ends with 1 if a peer can not be built, after it has tried the others
#   build.sh --list   builds nothing
#
# CI_TUNNEL_CACHE is where they are kept, else ~/.cache/ci-tunnel.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../tests/kubernetes/common.sh
. "$here/../../tests/kubernetes/common.sh"

peers="rathole rusnel frp chisel konnectivity"

main() {
  case ${1:-} in
    "") build_all ;;
    --list) list ;;
    *) die 2 "unknown argument: $1" ;;
  esac
}

version_of() {
  case $1 in
    rathole) echo 0.5.0 ;;
    rusnel) echo 0.11.2 ;;
    frp | chisel) go_pin "$1" "/$1 v" ;;
    konnectivity) go_pin "$1" "/apiserver-network-proxy v" ;;
  esac
}

# The version in the go.mod of the peer $1, of the module that the pattern $2 finds.
go_pin() {
  grep "$2" "$here/$1/go.mod" | grep -v -e '=>' -e '^replace' | head -n 1 | grep -o 'v[0-9][^ ]*'
}

folder_of() {
  echo "$cache_root/peers/$1-$(version_of "$1")"
}

list() {
  local peer
  for peer in $peers; do
    [ ! -d "$(folder_of "$peer")" ] || echo "$peer $(version_of "$peer") $(folder_of "$peer")"
  done
}

build_all() {
  local peer failed=""
  need flock "install util-linux (it keeps two builds from running at once)"
  lock "$cache_root/peers"
  # Left behind by a build that was killed; the lock says none is running.
  rm -rf "$cache_root/peers"/.build.*
  for peer in $peers; do
    [ -d "$(folder_of "$peer")" ] || build "$peer" || failed="$failed $peer"
  done
  list
  [ -z "$failed" ] || die 1 "NOT BUILT:$failed; the benchmarks will say that they are not measured"
}

# Whole or not at all: a folder that is there is complete.
build() {
  local peer=$1 started=$SECONDS scratch
  say "building $peer $(version_of "$peer") (once) ..."
  scratch=$(mktemp -d "$cache_root/peers/.build.XXXXXX")
  mkdir "$scratch/bin"
  if build_into "$peer" "$scratch" >"$scratch/log" 2>&1; then
    mv "$scratch/bin" "$(folder_of "$peer")"
    rm -rf "$scratch"
    say "built $peer in $((SECONDS - started)) s"
  else
    tail -n 30 "$scratch/log" >&2
    rm -rf "$scratch"
    say "$peer $(version_of "$peer") can NOT be built; what the compiler said last is above"
    return 1
  fi
}

build_into() {
  case $1 in
    # Without its lock file, whose crate `time` no longer compiles; without its TLS transport, which needs OpenSSL's
    # headers: Noise is what it is measured with.
    rathole) crate "$1" "$2" --no-default-features --features client,server,noise ;;
    rusnel) crate "$1" "$2" --locked ;;
    frp) go_program "$1" "$2/bin/frps" github.com/fatedier/frp/cmd/frps &&
      go_program "$1" "$2/bin/frpc" github.com/fatedier/frp/cmd/frpc ;;
    chisel) go_program "$1" "$2/bin/chisel" github.com/jpillora/chisel ;;
    konnectivity) go_program "$1" "$2/bin/proxy-server" sigs.k8s.io/apiserver-network-proxy/cmd/server &&
      go_program "$1" "$2/bin/proxy-agent" sigs.k8s.io/apiserver-network-proxy/cmd/agent ;;
  esac
}

crate() {
  local name=$1 scratch=$2
  shift 2
  cargo install --version "=$(version_of "$name")" --root "$scratch" --no-track \
    --target-dir "$scratch/target" "$@" "$name"
}

go_program() {
  (
    cd "$here/$1" || exit 1
    # What a developer has in GOFLAGS (-mod=vendor, -race) must not change what is built.
    export CGO_ENABLED=0 GOWORK=off GOFLAGS="-buildvcs=false -mod=readonly"
    go build -trimpath -ldflags "-s -w" -o "$2" "$3"
  )
}

main "$@"
