package etcdkv

import (
	"context"
	"math/big"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/store"
)

// etcd reads a range backwards by reading all of it and sorting. The cost of a page of history would grow with history. So a
// page is gathered from narrow ranges next to each other, from the end on: the keys that share the most characters with the
// greatest one, then those that share fewer. Where the end is, is remembered; when it is not known, it is found by counting,
// which etcd does from memory without reading rows.

const (
	// fewRows may be read at once, whatever is wanted of them.
	fewRows = 256
	// manyRows are too much for one range, when a narrower one can be had.
	manyRows = 1024
	// maxTops bounds the memory for ends of lists.
	maxTops = 4096
)

// tops remembers the greatest key of lists that were read from their end. A wrong one costs time, no more.
type tops struct {
	mu   sync.Mutex
	keys map[string]string
}

func (t *tops) get(list string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keys[list]
}

func (t *tops) put(list, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil || len(t.keys) >= maxTops {
		t.keys = map[string]string{}
	}
	t.keys[list] = key
}

// moment reads ranges as they are at one moment, that of its first call.
type moment struct {
	db  *DB
	ctx context.Context // of one Scan
	rev int64
}

func (m *moment) get(start, end string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := m.db.get(m.ctx, start, append(opts, clientv3.WithRange(end), clientv3.WithRev(m.rev))...)
	if err == nil && m.rev == 0 {
		m.rev = resp.Header.GetRevision()
	}
	return resp, err
}

func (m *moment) count(start, end string) (int64, error) {
	resp, err := m.get(start, end, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return resp.Count, nil
}

// backwards reads the range from its end.
func (db *DB) backwards(ctx context.Context, r store.ScanRange, start, end string) ([]store.Entry, error) {
	m := &moment{db: db, ctx: ctx}
	from := start
	if r.Limit > 0 {
		var err error
		if from, err = m.near(r, start, end); err != nil {
			return nil, err
		}
	}
	var out []store.Entry
	for step := 1; ; step *= 2 {
		left := 0
		if r.Limit > 0 {
			left = r.Limit - len(out)
		}
		resp, err := m.get(from, end, clientv3.WithLimit(int64(left)), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
		if err != nil {
			return nil, err
		}
		out = append(out, db.entries(resp.Kvs)...)
		if from == start || r.Limit > 0 && len(out) == r.Limit {
			break
		}
		end = from
		if from, err = m.widen(start, end, step); err != nil {
			return nil, err
		}
	}
	if len(out) > 0 && r.After == "" {
		db.tops.put(start, db.rows+out[0].Key)
	}
	return out, nil
}

// near gives where the first narrow range begins: few rows are between it and the end.
func (m *moment) near(r store.ScanRange, start, end string) (string, error) {
	if r.After != "" && end == m.db.rows+r.After {
		return m.widen(start, end, 1)
	}
	if top := m.db.tops.get(start); top > start && top < end {
		if n, err := m.count(top, end); err != nil || n <= fewRows {
			return top, err
		}
	}
	n, err := m.count(start, end)
	if err != nil || n <= fewRows || end != store.PrefixEnd(start) {
		return start, err
	}
	return m.search(start, n)
}

// widen gives the beginning of the range before end: what shares all but the last `step` characters with it, or more
// characters where that would be many rows.
func (m *moment) widen(start, end string, step int) (string, error) {
	for ; ; step /= 2 {
		from := start
		if cut := len(end) - step; cut > len(start) && strings.HasPrefix(end, start) {
			from = end[:cut]
		}
		n, err := m.count(from, end)
		if err != nil || n <= manyRows {
			return from, err
		}
		if step <= 1 {
			return m.bisect(from, end)
		}
	}
}

// bisect gives a later beginning of a range with many rows, so that it has fewer, but some. It looks from the end on, because
// counting costs by what is counted.
func (m *moment) bisect(from, end string) (string, error) {
	const halvings = 8
	for {
		points := [halvings + 1]string{from} // each half as far from the end as the one before
		for i := range halvings {
			points[i+1] = between(points[i], end)
		}
		if points[1] <= from || points[1] >= end {
			return from, nil
		}
		for i := halvings; i >= 0; i-- {
			if i == 0 { // then all of them are in the first half
				break
			}
			n, err := m.count(points[i], end)
			if err != nil || n > 0 && n <= manyRows {
				return points[i], err
			}
			if n > 0 {
				from = points[i]
				break
			}
			end = points[i]
		}
	}
}

// between gives a string in the middle of two, or a itself where there is none that is not longer than both.
func between(a, b string) string {
	size := max(len(a), len(b)) + 1
	number := func(s string) *big.Int {
		padded := make([]byte, size)
		copy(padded, s)
		return new(big.Int).SetBytes(padded)
	}
	sum := number(a)
	sum.Add(sum, number(b)).Rsh(sum, 1)
	middle := strings.TrimRight(string(sum.FillBytes(make([]byte, size))), "\x00")
	if len(middle) > store.MaxKeyBytes+maxPrefix {
		return a
	}
	return middle
}

// search finds the last few of n rows with the prefix, character by character.
func (m *moment) search(prefix string, n int64) (string, error) {
	for n > fewRows {
		var err error
		if prefix, err = m.shared(prefix, n); err != nil {
			return "", err
		}
		next, rows, err := m.last(prefix)
		if err != nil || rows == 0 { // the row that is the prefix itself
			return prefix, err
		}
		prefix, n = next, rows
	}
	return prefix, nil
}

// shared gives the longest prefix that all n rows with a prefix share.
func (m *moment) shared(prefix string, n int64) (string, error) {
	resp, err := m.get(prefix, store.PrefixEnd(prefix), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil || len(resp.Kvs) == 0 {
		return prefix, err
	}
	first := string(resp.Kvs[0].GetKey())
	low, high := len(prefix), len(first) // the first `low` characters are shared
	for low < high {
		middle := (low + high + 1) / 2
		same, err := m.count(first[:middle], store.PrefixEnd(first[:middle]))
		if err != nil {
			return "", err
		}
		if same == n {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return first[:low], nil
}

// last gives the greatest continuation of a prefix by one character, and how many rows have it.
func (m *moment) last(prefix string) (string, int64, error) {
	low, high := 0, 256 // the character is at least low and less than high
	var rows int64
	for high-low > 1 {
		middle := (low + high) / 2
		end := store.PrefixEnd(prefix)
		if high < 256 {
			end = prefix + string([]byte{byte(high)})
		}
		n, err := m.count(prefix+string([]byte{byte(middle)}), end)
		if err != nil {
			return "", 0, err
		}
		if n > 0 {
			low, rows = middle, n
		} else {
			high = middle
		}
	}
	if low == 0 { // nothing is known of the smallest one yet
		var err error
		zero := prefix + "\x00"
		if rows, err = m.count(zero, store.PrefixEnd(zero)); err != nil {
			return "", 0, err
		}
	}
	return prefix + string([]byte{byte(low)}), rows, nil
}
