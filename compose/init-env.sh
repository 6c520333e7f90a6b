#!/bin/sh
# Makes .env beside this file from .env.example, with random secrets, for its owner alone. Never touches one that exists.
set -eu
cd "$(dirname "$0")"
if [ -e .env ] || [ -L .env ]; then
    echo "compose/.env exists and stays as it is"
    exit 0
fi

# $1 random bytes in hex.
random() {
    hex=$(od -An -v -N "$1" -tx1 /dev/urandom | tr -d ' \n')
    if [ "${#hex}" -ne $(($1 * 2)) ]; then
        echo "no randomness to be had from /dev/urandom" >&2
        exit 1
    fi
    echo "$hex"
}

umask 077
new=$(mktemp .env.XXXXXX)
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
while IFS= read -r line || [ -n "$line" ]; do
    case "$line" in
        HUB_SECRET_KEY=) line="$line$(random 32)" ;;
        ADMIN_TOKEN= | POSTGRES_PASSWORD= | REDIS_PASSWORD=) line="$line$(random 24)" ;;
    esac
    printf '%s\n' "$line"
done <.env.example >"$new"
# Not a rename: a .env that somebody made meanwhile stays.
ln "$new" .env
echo "made compose/.env: keep a copy with the backups, the database cannot be read without its HUB_SECRET_KEY"
