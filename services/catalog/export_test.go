package catalog

import (
	"context"

	"github.com/towpath-dev/towpath/internal/store"
)

// Rows gives the database as handlers see it.
func (s *Service) Rows() store.KV { return s.cfg.KV }

// Step is a migration of a test.
type Step struct {
	To     int
	Prefix string
	Row    func(key string, value []byte) ([]store.Op, error)
}

// Migrate runs migrations as a start does.
func (s *Service) Migrate(ctx context.Context, steps ...Step) error {
	all := make([]migration, len(steps))
	for i, step := range steps {
		all[i] = migration{to: step.To, what: "a test", prefix: step.Prefix, row: step.Row}
	}
	return s.migrate(ctx, all)
}

// SchemaVersion is the version of the rows that this program writes.
const SchemaVersion = schemaVersion

// LatestMigration is the version after the last migration.
func LatestMigration() int { return latest(migrations) }
