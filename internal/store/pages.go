package store

// PageToken makes a token for the place behind `after` in a list that is no single Table's, as one that goes by an index. The
// list is named by identity: what it is of, its order and its filter.
func PageToken(after string, identity ...string) string { return pageToken(after, identity...) }

// ParsePageToken gives the place in a list, "" for the empty token. A token that was made for another list is errs.Invalid with
// REASON_INVALID_PAGE_TOKEN.
func ParsePageToken(token string, identity ...string) (after string, err error) {
	return parsePageToken(token, identity...)
}
