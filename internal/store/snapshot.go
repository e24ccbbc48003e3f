package store

import (
	"context"
	"strings"
)

// Snapshotter is what engines offer beside KV that can read everything as it is at one moment.
type Snapshotter interface {
	// Snapshot calls put for every key, in key order, as all of them are at one moment, and gives the revision of that moment.
	// Writers go on meanwhile. An entry's value is only valid during the call. An error of put ends it.
	Snapshot(ctx context.Context, put func(Entry) error) (rev int64, err error)
}

// Snapshot reads everything as it is at one moment. Engines that are no Snapshotter are read key by key while others write, and
// then the changes since the beginning are told: put is called again for a key that was written, remove for one that went. Who
// takes all calls in their order has what is at the moment of the result. For that, the key marker is written and removed.
func Snapshot(ctx context.Context, kv KV, marker string, put func(Entry) error, remove func(key string) error) (rev int64, err error) {
	if s, ok := kv.(Snapshotter); ok {
		return s.Snapshot(ctx, put)
	}
	begin, err := Revision(ctx, kv)
	if err != nil {
		return 0, err
	}
	for e, err := range All(ctx, kv, "") {
		if err == nil {
			err = put(e)
		}
		if err != nil {
			return 0, err
		}
	}
	// The log ends nowhere: the marker tells when it has been read far enough.
	var mark Tx
	if rev, err = kv.Commit(ctx, *mark.Put(marker, nil)); err != nil {
		return 0, err
	}
	defer func() {
		var unmark Tx
		if _, uerr := kv.Commit(context.WithoutCancel(ctx), *unmark.Delete(marker)); err == nil {
			err = uerr
		}
	}()
	for c, err := range kv.Watch(ctx, "", begin) {
		if err != nil {
			return 0, err
		}
		if c.Rev >= rev {
			return rev, nil
		}
		switch {
		case strings.HasPrefix(c.Key, marker):
		case c.Deleted:
			err = remove(c.Key)
		default:
			err = put(Entry{Key: c.Key, Value: c.Value, Rev: c.Rev})
		}
		if err != nil {
			return 0, err
		}
	}
	return rev, nil
}
