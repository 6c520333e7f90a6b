#!/usr/bin/env bash
# Opens the hub's database in its own shell: sqlite3 or psql, on DSN or DATA_DIR as the hub itself takes them.
# Statements on standard input are run instead: `echo 'SELECT count(*) FROM ledger;' | make -s db-shell`.
set -euo pipefail
cd "$(dirname "$0")/.."
dsn="${DSN:-sqlite://${DATA_DIR:-./data}/hub.sqlite}"

# The text of $1 without percent-encoding.
decoded() {
    local text="${1//\\/\\\\}"
    printf '%b' "${text//%/\\x}"
}

case "$dsn" in
    sqlite:*)
        file="${dsn#sqlite:}"
        file="${file#//}"
        if [ ! -e "$file" ]; then
            echo "there is no database at $file: \`make run\` makes it, DSN or DATA_DIR name another" >&2
            exit 1
        fi
        sh scripts/setup.sh sqlite3 >&2
        exec sqlite3 -header -column -cmd '.timeout 5000' -cmd 'PRAGMA foreign_keys = ON' "$file"
        ;;
    postgres://* | postgresql://*)
        sh scripts/setup.sh postgresql-client >&2
        # The password goes by the environment: everyone on the machine can read a command line.
        authority="${dsn#*://}"
        authority="${authority%%[/?]*}"
        login="${authority%@*}"
        if [[ "$authority" == *@* && "$login" == *:* ]]; then
            PGPASSWORD="$(decoded "${login#*:}")"
            export PGPASSWORD
            rest="${dsn#*://}"
            dsn="${dsn%%://*}://${login%%:*}@${rest#"$login"@}"
        fi
        exec psql "$dsn"
        ;;
    *)
        # Not shown: it may hold a password.
        echo "DSN is neither sqlite://path nor postgres://user:password@host:5432/name" >&2
        exit 2
        ;;
esac
