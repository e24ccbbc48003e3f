package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxMirrorPacks = 30      // from here on, small packs are put together
	maxMirrorBytes = 1 << 30 // by which a mirror may grow before it is fetched anew
	maxShallows    = 256     // commits with cut history; from here on, the mirror is fetched anew
	historyDepth   = 32      // commits fetched when somebody reads on behind the cut, twice as many each further time
	maxHistory     = 2048    // and at the most
	blobBatch      = 1000    // files fetched in one session
)

// mirror is an HTTP(S) repository as a Remote. It holds a disposable copy on disk: the commits that Fetch gave, without
// history and, where the host can leave them out, without files. What is not in it is fetched when read: by its id, which
// protocol version 2 allows for every object that the host has. Anything odd in the copy and it is deleted and fetched anew.
type mirror struct {
	client  *client
	dir     string
	lock    *os.File
	timeout time.Duration
	limit   int64
	hooks   Hooks
	log     *slog.Logger

	mu       sync.Mutex // one session at a time, and whatever replaces the store
	tips     map[string]Hash
	shallows []Hash
	behind   int   // commits to fetch when somebody reads on behind the cut
	fresh    int64 // size of the copy in bytes when it was last fetched anew

	storeMu sync.RWMutex
	st      *store
	closed  bool
}

func openMirror(cfg Config) (Remote, error) {
	sum := sha256.Sum256([]byte(cfg.URL))
	dir, lock, err := claimMirror(filepath.Join(cfg.Dir, hex.EncodeToString(sum[:8])))
	if err != nil {
		return nil, fmt.Errorf("open the mirror: %w", err)
	}
	m := &mirror{
		client: newClient(cfg), dir: dir, lock: lock, timeout: cfg.Timeout, limit: cfg.MaxPush, hooks: cfg.Hooks,
		log: cfg.Log, tips: map[string]Hash{},
	}
	if err := m.load(); err != nil {
		m.log.Warn("a mirror is fetched anew", "repository", cfg.URL, "reason", err)
		if err := m.rebuild(); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return m, nil
}

// claimMirror takes the first folder of this remote that nobody has open: one for each of the branches written at the same
// time, and the same ones again after a restart.
func claimMirror(base string) (dir string, lock *os.File, err error) {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return "", nil, err
	}
	for i := range 10_000 {
		dir = fmt.Sprintf("%s-%d", base, i)
		f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return "", nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return dir, f, nil
		}
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return "", nil, err
		}
	}
	return "", nil, errors.New("too many mirrors of one repository are open")
}

// load opens what an earlier process left.
func (m *mirror) load() error {
	st, err := openStore(filepath.Join(m.dir, "objects"), false)
	if err != nil {
		return err
	}
	m.setStore(st)
	data, err := os.ReadFile(filepath.Join(m.dir, "shallow"))
	if errors.Is(err, os.ErrNotExist) {
		if st.packCount() > 0 {
			return corrupt("the mirror has objects but no list of cut commits")
		}
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.FieldsSeq(string(data)) {
		h := NewHash(line)
		if h.IsZero() || !st.has(h) {
			return corrupt("the mirror's list of cut commits names %q", line)
		}
		m.shallows = append(m.shallows, h)
	}
	return nil
}

func (m *mirror) setStore(st *store) {
	m.storeMu.Lock()
	old := m.st
	m.st = st
	m.storeMu.Unlock()
	if old != nil {
		old.close()
	}
}

func (m *mirror) store() *store {
	m.storeMu.RLock()
	defer m.storeMu.RUnlock()
	return m.st
}

// rebuild throws the copy away.
func (m *mirror) rebuild() error {
	if err := os.RemoveAll(m.dir); err != nil {
		return err
	}
	st, err := openStore(filepath.Join(m.dir, "objects"), false)
	if err != nil {
		return err
	}
	m.setStore(st)
	clear(m.tips)
	m.shallows, m.behind, m.fresh = nil, 0, 0
	return nil
}

// session bounds one exchange with the host.
func (m *mirror) session(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("the Git host did not answer within %s: %w", m.timeout, context.DeadlineExceeded))
}

// Fetch asks for the branch's tip and gets its commit and what is new in its trees.
func (m *mirror) Fetch(ctx context.Context, branch string) (Hash, error) {
	if err := ValidateBranch(branch); err != nil {
		return ZeroHash, err
	}
	ctx, cancel := m.session(ctx)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return ZeroHash, err
	}
	tip, err := m.fetchTip(ctx, branch)
	if err == nil || !disposable(err) {
		return tip, hostErrorOf(err)
	}
	m.log.Warn("a mirror is fetched anew", "repository", m.client.base, "reason", err)
	if err := m.rebuild(); err != nil {
		return ZeroHash, fmt.Errorf("rebuild the mirror: %w", err)
	}
	tip, err = m.fetchTip(ctx, branch)
	return tip, hostErrorOf(err)
}

func hostErrorOf(err error) error {
	if err == nil {
		return nil
	}
	return hostError(err)
}

// disposable says whether a new mirror may help.
func disposable(err error) bool {
	var theirs *remoteError
	return errors.Is(err, errCorrupt) || errors.Is(err, ErrMissing) || errors.Is(err, os.ErrNotExist) || errors.As(err, &theirs)
}

func (m *mirror) usable() error {
	if m.closed {
		return unavailable(nil, "the remote is closed")
	}
	return nil
}

func (m *mirror) fetchTip(ctx context.Context, branch string) (Hash, error) {
	tip, err := m.client.tip(ctx, branch)
	if err != nil || tip.IsZero() {
		delete(m.tips, branch)
		return ZeroHash, err
	}
	if len(m.shallows) > maxShallows || m.store().size() > maxMirrorBytes+4*m.fresh {
		if err := m.rebuild(); err != nil {
			return ZeroHash, err
		}
	}
	if !m.store().has(tip) {
		if err := m.download(ctx, want{ids: []Hash{tip}, haves: m.haves(), shallows: m.shallows, depth: 1}); err != nil {
			return ZeroHash, err
		}
		if m.fresh == 0 {
			m.fresh = m.store().size()
		}
	}
	c, err := m.store().Commit(ctx, tip)
	if err != nil {
		return ZeroHash, err
	}
	if _, err := m.store().RawTree(ctx, c.Tree); err != nil {
		return ZeroHash, err
	}
	m.tips[branch] = tip
	return tip, nil
}

// haves are the commits whose trees we have: what the host need not send again. After a restart, it is the cut commits.
func (m *mirror) haves() []Hash {
	var out []Hash
	for _, h := range m.tips {
		out = append(out, h)
	}
	for _, h := range m.shallows[max(0, len(m.shallows)-8):] {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// download fetches a pack into the store.
func (m *mirror) download(ctx context.Context, spec want) error {
	st := m.store()
	tmp, err := os.CreateTemp(st.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	shallow, err := m.client.fetch(ctx, spec, tmp)
	if err != nil {
		return err
	}
	data, err := mapFile(tmp.Name())
	if err != nil {
		return err
	}
	defer unmap(data)
	x, err := indexPack(data, indexLimits{object: maxObject, chain: 10_000}, func(Hash, object) error { return nil })
	if err != nil {
		return err
	}
	if len(x.entries) == 0 {
		return nil
	}
	// The cut commits first: a mirror that has them without knowing would claim history that it does not have.
	if err := m.addShallows(shallow); err != nil {
		return err
	}
	if err := st.installFile(tmp, x.entries, x.sum); err != nil {
		return err
	}
	return m.tidy(ctx)
}

func (m *mirror) addShallows(ids []Hash) error {
	for _, h := range ids {
		if !slices.Contains(m.shallows, h) {
			m.shallows = append(m.shallows, h)
		}
	}
	return m.saveShallows()
}

func (m *mirror) saveShallows() error {
	var b strings.Builder
	for _, h := range m.shallows {
		b.WriteString(h.String() + "\n")
	}
	path := filepath.Join(m.dir, "shallow")
	if err := os.WriteFile(path+".tmp", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// tidy keeps the number of packs small.
func (m *mirror) tidy(ctx context.Context) error {
	st := m.store()
	if st.packCount() <= maxMirrorPacks {
		return nil
	}
	st.repacking.Lock()
	defer st.repacking.Unlock()
	return st.consolidate(ctx)
}

// Close gives the folder back; what is in it serves the next process.
func (m *mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.client.wire.close()
	m.store().close()
	return m.lock.Close()
}
