#!/bin/sh
# Runs the clients' tests against target/debug, once setup.sh and cargo build have been there.
# Arguments go to pytest: `sh clients/run.sh -k gemini -x`.
set -eu
cd "$(dirname "$0")/.."
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export HUB_BINARIES="$target/debug" CLIENTS_HOME="$target/clients" PYTHONPYCACHEPREFIX="$target/clients/pycache"

# A network that has loopback and nothing else, for hub, upstream and clients.
alone() {
    # shellcheck disable=SC2086
    unshare $as_root --net sh -c 'ip link set lo up && exec "$@"' alone "$@"
}
as_root=--map-root-user
[ "$(id -u)" != 0 ] || as_root=
if alone true 2>/dev/null; then
    inside=alone
else
    inside="env"
    echo "test-clients: no network namespace to be had here; what the clients try to reach is refused by a proxy alone" >&2
fi
cd clients/tests
status=0
$inside "$target/clients/venv/bin/python" -m pytest --basetemp "$target/clients/last-run" "$@" || status=$?
# Last of all, where nobody overlooks it.
if [ -s "$target/clients/not-run" ]; then
    sed 's/^/test-clients: NOT RUN: /' "$target/clients/not-run" >&2
fi
exit $status
