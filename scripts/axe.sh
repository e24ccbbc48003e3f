#!/usr/bin/env bash
# axe.sh VERSION INTEGRITY FILE: fetches axe-core, which looks at the portal's pages in the browser tests, and checks that it is what
# was chosen. It is a tool of the tests (MPL-2.0): nothing of it is committed, linked in or served. Without npm it says so and leaves
# the file out; scripts/test.sh then tells what is not tested.
set -euo pipefail
version=$1 integrity=$2 file=$3
if ! command -v npm >/dev/null; then
	echo "no npm: axe-core is not fetched, and the portal's accessibility is not tested (Debian: apt-get install npm)" >&2
	exit 0
fi
folder=$(dirname "$file")
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
npm pack "axe-core@$version" --silent --pack-destination "$work" >/dev/null
got=$(node -e 'console.log("sha512-" + require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64"))' "$work"/*.tgz)
if [ "$got" != "$integrity" ]; then
	echo "axe-core $version is not what was chosen: $got, not $integrity" >&2
	exit 1
fi
tar -xzf "$work"/*.tgz -C "$work" package/axe.min.js
touch "$work/package/axe.min.js" # newer than what makes it
mv "$work/package/axe.min.js" "$file"
