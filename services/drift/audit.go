package drift

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/services/drift/internal/auditlog"
)

// AuditPath is where AuditEvents is served; {target} is the id of the catalog's target.
const AuditPath = "/hooks/audit/{target}"

// AuditConfig says where the audit events of API servers come from, by target ("targets/local" or "local"). Without them findings
// name field managers, and of a removal only when it was.
type AuditConfig struct {
	// Tokens by which API servers send their events to AuditPath.
	Tokens map[string]string
	// Files are audit logs that can be read here, in the format json.
	Files map[string]string
}

func targetName(s string) string { return "targets/" + strings.TrimPrefix(s, "targets/") }

// auditFeeds are the audit logs of targets.
type auditFeeds struct {
	logs   map[string]*auditlog.Log
	tokens map[string][sha256.Size]byte
	files  map[string]string
	turns  chan struct{}
}

// auditAtOnce bounds how many batches are read at a time.
const auditAtOnce = 4

func newAuditFeeds(cfg AuditConfig) *auditFeeds {
	a := &auditFeeds{
		logs: map[string]*auditlog.Log{}, tokens: map[string][sha256.Size]byte{}, files: map[string]string{}, turns: make(chan struct{}, auditAtOnce),
	}
	for t, token := range cfg.Tokens {
		a.tokens[targetName(t)] = sha256.Sum256([]byte(token))
		a.logs[targetName(t)] = auditlog.New()
	}
	for t, file := range cfg.Files {
		a.files[targetName(t)] = file
		if a.logs[targetName(t)] == nil {
			a.logs[targetName(t)] = auditlog.New()
		}
	}
	return a
}

// auditLog gives the audit log of a target; nil when there is none.
func (s *Service) auditLog(target string) *auditlog.Log { return s.audit.logs[target] }

const (
	// maxAuditBatch bounds one request. At level Metadata an event takes about a kilobyte and a batch has 400.
	maxAuditBatch = 64 << 20
	// auditPatience is how long a batch may take.
	auditPatience = 30 * time.Second
)

// AuditEvents takes what an API server's audit webhook sends, at POST AuditPath: an EventList of audit.k8s.io/v1, with the target's
// token as bearer. It answers 401 to a wrong token, also of a target without one, 400 to what is no EventList, and 200 to the rest.
// Level Metadata is enough; what else a batch holds is dropped while it is read.
func (s *Service) AuditEvents() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := targetName(r.PathValue("target"))
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		given, want := sha256.Sum256([]byte(token)), s.audit.tokens[target]
		_, known := s.audit.tokens[target]
		if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || !known {
			http.Error(w, "the bearer token is not the one of this target's audit webhook", http.StatusUnauthorized)
			return
		}
		select {
		case s.audit.turns <- struct{}{}:
			defer func() { <-s.audit.turns }()
		case <-r.Context().Done():
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(auditPatience)) // a connection that cannot have one has none
		batch := s.newBatch(target)
		err := auditlog.List(http.MaxBytesReader(w, r.Body, maxAuditBatch), batch.add)
		batch.done()
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			http.Error(w, "the batch is too large; use level Metadata, or a smaller --audit-webhook-batch-max-size", http.StatusRequestEntityTooLarge)
		case err != nil:
			http.Error(w, "the body "+err.Error(), http.StatusBadRequest)
		}
	})
}

// auditBatch are events that came together.
type auditBatch struct {
	s          *Service
	target     string
	namespaces map[string]bool
}

func (s *Service) newBatch(target string) *auditBatch {
	return &auditBatch{s: s, target: target, namespaces: map[string]bool{}}
}

func (b *auditBatch) add(e auditlog.Event) {
	if e.UserAgent == userAgent {
		return // our own writes are nobody's drift
	}
	b.s.auditLog(b.target).Add(e)
	ns := e.Namespace
	if e.Resource == "namespaces" && e.Group == "" {
		ns = e.Name
	}
	b.namespaces[ns] = true
}

// done has the environments look for names that they miss.
func (b *auditBatch) done() {
	if len(b.namespaces) == 0 {
		return
	}
	b.s.mu.Lock()
	envs := make([]*environment, 0, len(b.s.envs))
	for _, e := range b.s.envs {
		envs = append(envs, e)
	}
	b.s.mu.Unlock()
	for _, e := range envs {
		e.mu.Lock()
		concerned := e.target() == b.target && (b.namespaces[e.desired.GetNamespace()] || b.namespaces[""])
		e.mu.Unlock()
		if concerned {
			e.auditDue.Store(true)
			poke(e.look)
		}
	}
}

const (
	auditPoll = 250 * time.Millisecond
	// auditTail is how much of the end of a log is read at the start: what was done while we were away.
	auditTail = 8 << 20
	// maxAuditLine is longer than any line of level Metadata. Longer ones are left out.
	maxAuditLine = 1 << 20
)

// followAudit reads a target's audit log file until ctx ends, over rotations.
func (s *Service) followAudit(ctx context.Context, target, name string) {
	log := s.cfg.Log.With("target", target, "file", name)
	f := &followedFile{name: name}
	defer f.close()
	tick := time.NewTicker(auditPoll)
	defer tick.Stop()
	for failing := false; ; {
		batch := s.newBatch(target)
		err := f.read(func(line []byte) {
			if e, ok := auditlog.Line(line); ok {
				batch.add(e)
			}
		})
		batch.done()
		if err != nil && !failing {
			log.Warn("the audit log cannot be read; findings name no persons until it can be", "error", err)
		}
		noteBack(log, failing, err)
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func noteBack(log *slog.Logger, was bool, err error) {
	if was && err == nil {
		log.Info("the audit log can be read again")
	}
}

// followedFile is a file that grows and is now and then replaced by a new one of its name.
type followedFile struct {
	name string
	file *os.File
	rest []byte // of a line that is not complete yet
	skip bool   // the line is too long, or begun in the middle
}

func (f *followedFile) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// read gives the complete lines since the last read. A file that was replaced is read to its end first.
func (f *followedFile) read(each func([]byte)) error {
	if f.file == nil {
		if err := f.open(f.rest == nil && !f.skip); err != nil {
			return err
		}
	}
	for {
		if err := f.drain(each); err != nil {
			f.close()
			return err
		}
		replaced, err := f.replaced()
		if err != nil || !replaced {
			return err
		}
		f.close()
		f.rest, f.skip = f.rest[:0], false
		if err := f.open(false); err != nil {
			return err
		}
	}
}

// open begins at the start, or with tail near the end.
func (f *followedFile) open(tail bool) error {
	file, err := os.Open(f.name)
	if err != nil {
		return err
	}
	f.file = file
	if !tail {
		return nil
	}
	st, err := file.Stat()
	if err != nil {
		f.close()
		return err
	}
	if st.Size() > auditTail {
		f.skip = true
		_, err = file.Seek(-auditTail, io.SeekEnd)
	}
	f.rest = []byte{}
	return err
}

// replaced reports whether the name stands for another file by now, or the file was cut.
func (f *followedFile) replaced() (bool, error) {
	now, err := os.Stat(f.name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // between two: the next one comes
	}
	if err != nil {
		return false, err
	}
	was, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	at, err := f.file.Seek(0, io.SeekCurrent)
	return !os.SameFile(was, now) || now.Size() < at, err
}

func (f *followedFile) drain(each func([]byte)) error {
	r := bufio.NewReaderSize(f.file, 64<<10)
	for {
		part, err := r.ReadSlice('\n')
		complete := err == nil
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		switch {
		case f.skip || len(f.rest)+len(part) > maxAuditLine:
			f.skip, f.rest = true, f.rest[:0]
		default:
			f.rest = append(f.rest, part...)
		}
		if complete {
			if !f.skip {
				each(f.rest)
			}
			f.skip, f.rest = false, f.rest[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}
