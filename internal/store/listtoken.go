package store

// PageToken makes the token for the place behind `after` in a list that is no plain Table.List. identity names the list and
// everything that chooses it, such as its filter.
func PageToken(after string, identity ...string) string { return pageToken(after, identity...) }

// ParsePageToken gives the place that PageToken was told, "" for the empty token, the start. A token of another list is
// errs.Invalid with REASON_INVALID_PAGE_TOKEN.
func ParsePageToken(token string, identity ...string) (after string, err error) {
	return parsePageToken(token, identity...)
}
