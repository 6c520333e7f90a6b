#!/bin/sh
# What can be said about Dockerfiles and compose files without a Docker engine: lints, the schema, what they promise
# each other and the README, and the balancer's and Redis's files in the real programs. The pinned tools go into a venv
# beside the build.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh python3-venv haproxy redis-server
mkdir -p "${CARGO_TARGET_DIR:-target}/compose"
home=$(cd "${CARGO_TARGET_DIR:-target}/compose" && pwd)
pins="$(python3 --version) $(cksum compose/checks/requirements.txt)"
if [ "$(cat "$home/.pins" 2>/dev/null)" != "$pins" ]; then
    echo "installing the tools of compose/checks/requirements.txt into $home/venv"
    rm -rf "$home/venv"
    python3 -m venv "$home/venv"
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r compose/checks/requirements.txt
    echo "$pins" >"$home/.pins"
fi
bin="$home/venv/bin"
"$bin/hadolint" --config compose/checks/hadolint.yaml Dockerfile.gateway Dockerfile.admin
"$bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec compose/docker-compose.yml compose/admin-on-loopback.yml
"$bin/shellcheck" .ci/run clients/*.sh compose/*.sh scripts/*.sh
cd compose/checks
"$bin/python" -B -m unittest --quiet
