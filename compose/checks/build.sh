#!/bin/sh
# Builds an image from its Dockerfile with Debian's buildah, where no registry of images can be reached: the base images
# are stood in for by debootstrap's minbase, and the Rust one by the same with what the official one installs and this
# machine's toolchain of that version. As root. Everything is kept below <directory> (some gigabytes): layers stay in
# the cache as they would with an engine.
#
#   sh compose/checks/build.sh <directory> Dockerfile.gateway -t cch-gateway     what follows goes to `buildah build`
#   sh compose/checks/build.sh <directory>                                       the stand-ins alone
#
# Then `buildah --root <directory>/store --runroot <directory>/run …` knows the image.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
home=$(cd "$1" && pwd)
shift
cd "$repository"
sh scripts/setup.sh buildah debootstrap

version=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
toolchain=$(rustc --print sysroot)
debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/rust:$version-slim-bookworm

images() {
    buildah --root "$home/store" --runroot "$home/run" "$@"
}

# Steps run in a chroot: no container runtime is needed. The toolchain is the machine's own and to be read only; so are
# its certificate authorities, by which it may reach crates.io through a proxy of its own.
build() {
    images build --isolation chroot --layers --pull-never --format docker \
        -v "$toolchain:/usr/local/toolchain:ro" -v /etc/ssl/certs/ca-certificates.crt:/run/machine-ca.crt:ro "$@"
}

if ! images inspect "$debian" >/dev/null 2>&1; then
    debootstrap --variant=minbase bookworm "$home/minbase"
    stand_in=$(images from scratch)
    images add --quiet "$stand_in" "$home/minbase" / >/dev/null
    images commit --quiet "$stand_in" "$debian"
    images rm "$stand_in" >/dev/null
    rm -rf "$home/minbase"
fi
mkdir -p "$home/empty"
build --quiet -t "$rust" -f - "$home/empty" <<DOCKERFILE
FROM $debian
RUN apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates gcc libc6-dev
ENV PATH=/usr/local/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CARGO_HOME=/usr/local/cargo CARGO_HTTP_CAINFO=/run/machine-ca.crt
DOCKERFILE
[ "$#" -gt 0 ] || exit 0
dockerfile=$1
shift
build -f "$dockerfile" "$@" .
