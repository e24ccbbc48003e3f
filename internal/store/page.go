package store

import (
	"slices"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Page gives one page of a list that is put together from several tables, so that no Table.List can read it. items are all of
// it, sorted by id, which nobody may have twice; so it must be bounded. list names it, as Under and Filter do. It answers like
// Table.List.
func Page[T any](items []T, id func(T) string, list string, size int, token string) ([]T, string, error) {
	if size < 0 {
		return nil, "", errs.InvalidField("page_size", "%d is negative; give 1 to %d, or 0 for the default", size, MaxPageSize)
	}
	if size == 0 {
		size = DefaultPageSize
	}
	size = min(size, MaxPageSize)
	after, err := parsePageToken(token, "page", list)
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		i := slices.IndexFunc(items, func(v T) bool { return id(v) > after })
		if i < 0 {
			return nil, "", nil
		}
		items = items[i:]
	}
	if len(items) <= size {
		return items, "", nil
	}
	return items[:size], pageToken(id(items[size-1]), "page", list), nil
}
