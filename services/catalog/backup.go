package catalog

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/backup"
)

// leasesPrefix is where engines keep who leads. It belongs to the running processes and is in no backup.
const leasesPrefix = "leases/"

// Backup streams everything that the catalog knows, as it is at one moment: all rows, and the rows of history that are in
// segments. Work goes on meanwhile.
func (a accessServer) Backup(_ *catalogv1.BackupRequest, stream grpc.ServerStreamingServer[catalogv1.BackupResponse]) error {
	s, ctx := a.s, stream.Context()
	w, err := backup.NewWriter(&chunkWriter{send: func(b []byte) error {
		return stream.Send(&catalogv1.BackupResponse{Chunk: b})
	}}, backup.Header{Schema: schemaVersion, Time: s.now()})
	if err != nil {
		return err
	}
	if err := s.backupAll(ctx, w); err != nil {
		return err
	}
	return w.Close()
}

// backupAll writes the rows, and the blocks of old rows.
func (s *Service) backupAll(ctx context.Context, w *backup.Writer) error {
	blocks := map[string]blockRef{}
	if err := s.backupRows(ctx, w, blocks); err != nil {
		return err
	}
	return s.backupBlocks(ctx, w, blocks)
}

// backupRows writes the rows, and notes which blocks of old rows belong to them.
func (s *Service) backupRows(ctx context.Context, w *backup.Writer, blocks map[string]blockRef) error {
	_, err := store.Snapshot(ctx, s.raw, keyBackupMark, func(e store.Entry) error {
		if strings.HasPrefix(e.Key, leasesPrefix) || e.Key == keyBackupMark {
			return nil
		}
		if strings.HasPrefix(e.Key, archivePrefix) { // told with the block itself
			b, err := decodeBlockRef(e)
			blocks[e.Key] = b
			return err
		}
		return w.Write(backup.Record{Kind: backup.Put, Key: e.Key, Value: e.Value, Rev: e.Rev})
	}, func(key string) error {
		return w.Write(backup.Record{Kind: backup.Delete, Key: key})
	})
	return err
}

func (s *Service) backupBlocks(ctx context.Context, w *backup.Writer, blocks map[string]blockRef) error {
	keys := make([]string, 0, len(blocks))
	for key := range blocks {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b := blocks[key]
		packed, err := s.segment(ctx, b)
		if err != nil {
			return err
		}
		if err := w.Write(backup.Record{Kind: backup.Block, Key: key, Value: packed}); err != nil {
			return err
		}
	}
	return nil
}

// chunkWriter sends what is written in messages of a good size.
type chunkWriter struct {
	send func([]byte) error
}

// chunkBytes is the size of a message of a backup.
const chunkBytes = 256 << 10

// Write implements io.Writer.
func (c *chunkWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), chunkBytes)
		if err := c.send(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}
