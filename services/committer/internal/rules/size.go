package rules

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// What one deployment may bring into Git. Hosts refuse files of 100 MB, and every reader of the repository pays for each byte and
// each entry of a folder.
const (
	MaxFileBytes   = 16 << 20
	MaxBundleBytes = 48 << 20
	MaxFiles       = 50_000
	MaxFolder      = 10_000
)

// CheckSizes refuses a bundle that is too large. The error is errs.Invalid with REASON_TOO_LARGE and names what, how large and how
// large it may be.
func CheckSizes(files map[string][]byte) error {
	if len(files) > MaxFiles {
		return tooLarge("", "files", int64(len(files)), MaxFiles, "put less into one environment")
	}
	var total int64
	entries := map[string]int{} // folder -> entries
	for _, name := range slices.Sorted(maps.Keys(files)) {
		size := int64(len(files[name]))
		if size > MaxFileBytes {
			return tooLarge(name, "bytes", size, MaxFileBytes, "keep large content outside of Git, or split it")
		}
		total += size
		for rest := name; ; {
			cut := strings.LastIndexByte(rest, '/')
			folder := rest[:max(cut, 0)]
			if entries[folder]++; entries[folder] > MaxFolder {
				return tooLarge(folder+"/", "entries", int64(entries[folder]), MaxFolder, "put them into several folders")
			}
			if cut < 0 || entries[folder] > 1 {
				break // the folder itself was counted with its first entry
			}
			rest = folder
		}
	}
	if total > MaxBundleBytes {
		return tooLarge("", "bytes", total, MaxBundleBytes, "put less into one environment")
	}
	return nil
}

func tooLarge(file, unit string, size, limit int64, remedy string) error {
	subject := "the deployment"
	if file != "" {
		subject = file
	}
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "%s has %d %s, and the limit is %d; %s", subject, size, unit, limit, remedy)
	e.Fields = []errs.Field{{Path: "files[" + file + "]", Problem: "is too large"}}
	return e.With("file", file).With("size", strconv.FormatInt(size, 10)).With("limit", strconv.FormatInt(limit, 10))
}
