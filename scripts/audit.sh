#!/bin/sh
# Holds the dependency tree to deny.toml: who may use what, licences, sources. Not the advisories: their database is
# a git repository that a build machine need not reach. Puts the pinned cargo-deny beside the build when it is missing.
set -eu
cd "$(dirname "$0")/.."
version=0.20.2
mkdir -p "${CARGO_TARGET_DIR:-target}/tools"
tools=$(cd "${CARGO_TARGET_DIR:-target}/tools" && pwd)
deny="$tools/bin/cargo-deny"
if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "installing cargo-deny $version into $tools"
    # Quick to build: it runs for seconds. Its own profile has fat LTO and a single codegen unit.
    CARGO_TARGET_DIR="$tools/build" \
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --locked --force --version "$version" --root "$tools" cargo-deny
    rm -rf "$tools/build"
fi
"$deny" --locked check bans licenses sources
