package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/backup"
)

// migration brings the rows from one schema version to the next. Versions are numbers without gaps, and a migration that was
// released never changes: some data folder has been through it as it was.
type migration struct {
	// to is the version after it.
	to int
	// what tells a person.
	what string
	// prefix limits it to some rows.
	prefix string
	// row gives what becomes of a row: operations on its own key and on keys that no other row's operations touch; none when
	// it stays. It knows nothing but the row. nil when no row changes, and the version only keeps older programs out.
	row func(key string, value []byte) ([]store.Op, error)
}

// migrations are all there are, in their order. schemaVersion is the version after the last.
var migrations = []migration{
	{to: 2, what: "old history may be in segments; a towpathd that does not know them would take it for lost, and use numbers of deployments again"},
	{to: 3, what: "environments stay at the place in their row when their layout changes; a towpathd that does not know that would write them elsewhere"},
	{to: 4, what: "environments have ignore rules and findings have records, also in segments; a towpathd that does not know them would leave an environment's rules to the next one of its name"},
}

// progress is the row that tells how far a migration has come. It is written with what the migration changes, so that each row goes
// through it once, whatever crashes in between and however many processes try.
type progress struct {
	To    int    `json:"to"`
	After string `json:"after"`
}

// migrationRows is how many rows go into a transaction at most.
const migrationRows = 256

// migrate brings the store to schemaVersion, before anything else reads it. A new store just gets the version.
func (s *Service) migrate(ctx context.Context, all []migration) error {
	e, err := s.raw.Get(ctx, keySchema)
	if errors.Is(err, store.ErrNotFound) {
		return s.firstSchema(ctx, all)
	}
	if err != nil {
		return err
	}
	from, err := schemaOf(string(e.Value), all)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.to <= from {
			continue
		}
		if err := s.backupBefore(ctx, string(e.Value), m); err != nil {
			return err
		}
		break // one backup for all of them
	}
	for _, m := range all {
		if m.to <= from {
			continue
		}
		s.log.Info("the rows are brought to a new version", "schema", m.to, "because", m.what)
		if err := retry(ctx, func() error { return s.migrateTo(ctx, m) }); err != nil {
			return fmt.Errorf("migration to schema %d: %w", m.to, err)
		}
	}
	return nil
}

func latest(all []migration) int {
	if len(all) == 0 {
		return 1
	}
	return all[len(all)-1].to
}

// schemaOf reads a schema version that a store or backup has, and refuses one that is newer than this program.
func schemaOf(text string, all []migration) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > latest(all) {
		return 0, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"the data was written by a newer version of towpathd (schema %.20q, this one knows up to %d); start that version, or restore a backup of this one's",
			text, latest(all)).With("state", "SCHEMA")
	}
	return n, nil
}

func knownSchema(text string) error {
	_, err := schemaOf(text, migrations)
	return err
}

func (s *Service) firstSchema(ctx context.Context, all []migration) error {
	var tx store.Tx
	tx.If(store.IfAbsent(keySchema)).Put(keySchema, strconv.AppendInt(nil, int64(latest(all)), 10))
	_, err := s.raw.Commit(ctx, tx)
	if errors.Is(err, store.ErrConflict) { // another process was faster
		return nil
	}
	return err
}

// migrateTo goes through the rows from where an earlier try got to, and then sets the version.
func (s *Service) migrateTo(ctx context.Context, m migration) error {
	schema, err := s.raw.Get(ctx, keySchema)
	if err != nil || string(schema.Value) == strconv.Itoa(m.to) { // another process did it
		return err
	}
	at, rev, err := s.progressOf(ctx, m)
	if err != nil {
		return err
	}
	for m.row != nil {
		rows, err := s.raw.Scan(ctx, store.ScanRange{Prefix: m.prefix, After: at.After, Limit: migrationRows})
		if err != nil {
			return err
		}
		var tx store.Tx
		taken := 0
		for ; taken < len(rows) && len(tx.Ops) < store.MaxTxOps/2; taken++ {
			ops, err := m.row(rows[taken].Key, rows[taken].Value)
			if err != nil {
				return fmt.Errorf("row %q: %w", rows[taken].Key, err)
			}
			tx.If(store.IfRev(rows[taken].Key, rows[taken].Rev))
			tx.Ops = append(tx.Ops, ops...)
		}
		if taken == 0 {
			break
		}
		at.After = rows[taken-1].Key
		if rev, err = s.advance(ctx, &tx, at, rev); err != nil {
			return err
		}
		s.cfg.Failpoint("migrated_some")
	}
	var last store.Tx
	last.If(store.IfRev(keySchema, schema.Rev), store.IfRev(keyMigration, rev)).Put(keySchema, strconv.AppendInt(nil, int64(m.to), 10)).Delete(keyMigration)
	_, err = s.raw.Commit(ctx, last)
	return err
}

func (s *Service) progressOf(ctx context.Context, m migration) (at progress, rev int64, err error) {
	e, err := s.raw.Get(ctx, keyMigration)
	if errors.Is(err, store.ErrNotFound) {
		return progress{To: m.to}, 0, nil
	}
	if err != nil {
		return at, 0, err
	}
	if err := json.Unmarshal(e.Value, &at); err != nil || at.To != m.to {
		return at, 0, fmt.Errorf("row %q is damaged or of another migration: %w", keyMigration, errors.Join(err, fmt.Errorf("%q", e.Value)))
	}
	return at, e.Rev, nil
}

func (s *Service) advance(ctx context.Context, tx *store.Tx, at progress, rev int64) (int64, error) {
	value, err := json.Marshal(at)
	if err != nil {
		return 0, fmt.Errorf("encode %q: %w", keyMigration, err)
	}
	tx.If(store.IfRev(keyMigration, rev)).Put(keyMigration, value)
	return s.raw.Commit(ctx, *tx)
}

// backupBefore writes a backup of the rows as they are before a migration, where there is a folder for it. One that is there
// already, from a try that was cut short, has the rows of before that.
func (s *Service) backupBefore(ctx context.Context, schema string, m migration) (err error) {
	if s.cfg.BackupDir == "" {
		return nil
	}
	if _, err := s.raw.Get(ctx, keyMigration); err == nil {
		return nil
	}
	file := filepath.Join(s.cfg.BackupDir, fmt.Sprintf("before-schema-%d.towpath", m.to))
	tmp, err := os.CreateTemp(s.cfg.BackupDir, ".backup-")
	if err != nil {
		return fmt.Errorf("backup before a migration: %w", err)
	}
	defer os.Remove(tmp.Name()) // after the renaming there is none
	w, err := backup.NewWriter(tmp, backup.Header{Schema: schema, Time: s.now()})
	if err == nil {
		err = s.backupAll(ctx, w)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("backup before a migration: %w", err)
	}
	s.log.Info("the rows as they were are in a backup", "file", file)
	return nil
}
