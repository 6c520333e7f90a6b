#!/bin/sh
# Production code of a file stays at or below 800 lines (400 is the aim). Tests do not count.
set -eu
cd "$(dirname "$0")/.."
status=0
for file in $(git ls-files -co --exclude-standard '*/src/*.rs'); do
    case "$file" in */tests.rs | */tests/*) continue ;; esac
    lines=$(awk '/^#\[cfg\(test\)\]/ { exit } { n++ } END { print n + 0 }' "$file")
    if [ "$lines" -gt 800 ]; then
        echo "$file: $lines lines of production code, at most 800" >&2
        status=1
    elif [ "$lines" -gt 400 ]; then
        echo "note: $file: $lines lines of production code, 400 is the aim"
    fi
done
exit $status
