#!/usr/bin/env bash
# licenses.sh: module, version and licence of everything that is linked into towpathd and tow, read from the modules' own
# licence files. Exits 1 when one has none, or one that does not go with Apache-2.0.
set -euo pipefail
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/... | sort -u | {
	bad=0
	while read -r path version dir; do
		[ -n "$dir" ] || continue
		case $path in github.com/towpath-dev/*) continue ;; esac
		file=$(find "$dir" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' \) | sort | head -n 1)
		text=$([ -n "$file" ] && tr -s '[:space:]' ' ' <"$file" || true)
		case $text in
		*"Apache License"*) l=Apache-2.0 ;;
		*"Mozilla Public License"*) l=MPL-2.0 ;;
		*"Redistribution and use in source and binary forms"*"Neither the name"* | *"Redistribution and use in source and binary forms"*"used to endorse"*) l=BSD-3-Clause ;;
		*"Redistribution and use in source and binary forms"*) l=BSD-2-Clause ;;
		*"Permission is hereby granted, free of charge"*) l=MIT ;;
		*"Permission to use, copy, modify, and"*) l=ISC ;;
		*) l="UNKNOWN" bad=1 ;;
		esac
		printf '%-13s %s %s\n' "$l" "$path" "$version"
	done
	exit $bad
}
