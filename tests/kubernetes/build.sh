#!/usr/bin/env bash
# Makes sure the programs of the test cluster exist, and prints the folder they are in.
#
#   build.sh                      everything (the last line of stdout is the folder)
#   build.sh --only kubectl,helm  just these
#   build.sh --check              builds nothing: 0 if everything is there, else 1
#
# The versions are those of go.mod. KUBEBUILDER_ASSETS, if set, is used for what it has.
# CI_TUNNEL_CACHE is where things are kept, else ~/.cache/ci-tunnel.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

all_tools="etcd fake-kubelet helm kube-apiserver kube-controller-manager kube-scheduler kubectl kwok"

main() {
  parse_args "$@"
  need_tools
  find_folders
  if ! complete; then
    [ "$check" = no ] || exit 1
    lock "$pins"
    build_missing
  fi
  view
}

parse_args() {
  tools=$all_tools check=no
  while [ $# -gt 0 ]; do
    case $1 in
      --only) [ $# -ge 2 ] || die 2 "--only needs names: ${all_tools// /,}"; tools=${2//,/ }; shift ;;
      --only=*) tools=${1#--only=}; tools=${tools//,/ } ;;
      --check) check=yes ;;
      -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
      *) die 2 "unknown argument: $1" ;;
    esac
    shift
  done
  local tool
  for tool in $tools; do
    case " $all_tools " in *" $tool "*) ;; *) die 2 "unknown tool: $tool (known: $all_tools)" ;; esac
  done
}

need_tools() {
  need go "install Go $(awk '$1 == "go" { print $2 }' "$here/go.mod") or newer, it builds the test cluster's programs"
  need flock "install util-linux (it keeps two builds from running at once)"
  need sha256sum "install coreutils"
}

# One folder for each set of pins, compiler and machine, so that none is ever changed in place;
# in it one for each state of our own sources, which change more often than the pins.
find_folders() {
  local go_env
  go_env=$(cd "$here" && GOWORK=off go env GOVERSION GOOS GOARCH) || die 3 "this Go is too old for go.mod"
  pins="$cache_root/kubernetes/$({ cat "$here/go.mod" "$here/go.sum"; echo "$go_env"; } | digest)"
  assets=${KUBEBUILDER_ASSETS:-}
  # Absolute, as it is linked to.
  [ -z "$assets" ] || assets=$(cd "$assets" && pwd) || die 2 "KUBEBUILDER_ASSETS is no folder"
  ours="$pins/ours-$(cat "$here"/fake-kubelet/*.go | digest)"
}

# Where a tool is, or will be once built.
location() {
  if [ "$1" = fake-kubelet ]; then
    echo "$ours/$1"
  elif [ -n "$assets" ] && [ -x "$assets/$1" ]; then
    echo "$assets/$1"
  else
    echo "$pins/bin/$1"
  fi
}

complete() {
  local tool
  for tool in $tools; do
    [ -x "$(location "$tool")" ] || return 1
  done
}

build_missing() {
  local tool
  # Left behind by a build that was killed; the lock says none is running.
  rm -rf "$pins"/.build.*
  scratch=$(mktemp -d "$pins/.build.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  mkdir -p "$pins/bin" "$ours"
  for tool in $tools; do
    [ -x "$(location "$tool")" ] || build "$tool"
  done
}

build() {
  local tool=$1 package version started=$SECONDS
  package=$(package_of "$tool")
  version=$(version_of "$package")
  say "building $tool${version:+ $version} (once; the big ones take some minutes) ..."
  (
    cd "$here" || exit 1
    # What a developer has in GOFLAGS (-mod=vendor, -race) must not change what is built.
    export CGO_ENABLED=0 GOWORK=off GOFLAGS="-buildvcs=false -mod=readonly"
    go build -trimpath -ldflags "-s -w $(version_flags "$tool" "$version")" -o "$scratch/$tool" "$package"
  ) || die 1 "building $tool failed"
  mv "$scratch/$tool" "$(location "$tool")"
  say "built $tool in $((SECONDS - started)) s"
}

package_of() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    fake-kubelet) echo ./fake-kubelet ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    kwok) echo sigs.k8s.io/kwok/cmd/kwok ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

# What go.mod requires of the module that the package $1 is in.
version_of() {
  awk -v module="${1%/cmd/*}" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$here/go.mod"
}

# A build from the module proxy knows no git tag: without these, `kubectl version` says
# v0.0.0-master, and clients take the server for one that can do next to nothing.
version_flags() {
  local tool=$1 version=$2 major minor package
  case $tool in
    kube*)
      IFS=. read -r major minor _ <<<"${version#v}"
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf -- '-X %s=%s ' "$package.gitVersion" "$version" "$package.gitMajor" "$major" \
          "$package.gitMinor" "$minor" "$package.gitCommit" unknown "$package.gitTreeState" archive
      done
      ;;
    helm) printf -- '-X helm.sh/helm/v4/internal/version.version=%s' "$version" ;;
  esac
}

# Prints one folder with links to all, wherever they are.
view() {
  local tool folder
  folder="$pins/view-$(for tool in $tools; do location "$tool"; done | digest)"
  if [ ! -d "$folder" ]; then
    lock "$pins"
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    for tool in $tools; do
      ln -s "$(location "$tool")" "$folder.new/$tool"
    done
    # Whole or not at all; beaten to it by another, ours would land inside theirs.
    [ -d "$folder" ] || mv "$folder.new" "$folder"
  fi
  echo "$folder"
}

main "$@"
