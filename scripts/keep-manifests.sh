#!/bin/sh
# Leaves of a source tree only what decides which dependencies are built: the manifests, the lock file, and an empty
# root for each crate. For the Dockerfiles: their layer of built dependencies is made from this, so that it stays in the
# cache until a manifest changes. Files that are not tracked go too: run it on a copy.
# usage: scripts/keep-manifests.sh <directory>
set -eu
cd "$1"
find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path '*/src/lib.rs' ! -path '*/src/main.rs' \
    ! -path '*/src/bin/*.rs' -delete
# Modules of a binary in a folder of its own; only their roots are looked for.
find . -path '*/src/bin/*/*' -type f ! -path '*/src/bin/*/main.rs' -delete
find . -path '*/src/bin/*/*/*' -type f -delete
find . -type f -name '*.rs' -exec sh -c 'for file; do : >"$file"; done' sh {} +
find . -type f \( -path '*/src/main.rs' -o -path '*/src/bin/*' \) \
    -exec sh -c 'for file; do echo "fn main() { }" >"$file"; done' sh {} +
find . -depth -type d -empty -delete
