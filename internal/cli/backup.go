package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) backupCmd() *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use: "backup -o FILE", Short: "Save everything that the server knows in a file", Args: noArgs,
		Long: `Saves all that the catalog knows, as it is at one moment, in one compressed file with a checksum: applications, environments,
history, tokens' hashes, the audit trail. Work goes on meanwhile. Git repositories that the server keeps itself are not in it.

Whoever has the file knows all of that: keep it as safe as the server's own data.`,
		Example: "  tow backup -o towpath-2026-01-31.backup",
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the file to write (required)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if file == "" {
			return usagef("no file is given; name it with -o FILE")
		}
		if _, err := os.Stat(file); err == nil && !force {
			return usagef("%s is there already; give another file, or --force to replace it", file)
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		n, err := saveBackup(ctx, c, file)
		if err != nil {
			return err
		}
		t.printf("%s\n", file)
		t.notef("saved %d bytes", n)
		return nil
	})
	return cmd
}

// saveBackup writes the whole file or none.
func saveBackup(ctx context.Context, c *client, file string) (n int64, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".tow-backup-") // only its owner can read it
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	defer os.Remove(tmp.Name()) // after the renaming there is none
	stream, err := c.access.Backup(ctx, &catalogv1.BackupRequest{})
	for err == nil {
		var m *catalogv1.BackupResponse
		if m, err = stream.Recv(); err == nil {
			_, err = tmp.Write(m.GetChunk())
			n += int64(len(m.GetChunk()))
		}
	}
	if errors.Is(err, io.EOF) {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return n, err
}

func (t *tow) restoreCmd() *cobra.Command {
	var file string
	var yes bool
	cmd := &cobra.Command{
		Use: "restore -i FILE", Short: "Bring a backup into an empty server", Args: noArgs,
		Long: `Brings what ` + "`tow backup`" + ` has saved into a server in which nothing was made yet. A file that is damaged or of a newer version
changes nothing. Tokens of the backup work afterwards; the new server's own first token goes on to work, the old server's does not.

In a terminal it asks first; without one it needs --yes.`,
		Example: "  tow restore -i towpath-2026-01-31.backup --yes",
	}
	cmd.Flags().StringVarP(&file, "input", "i", "", "the file to read (required)")
	yesFlag(cmd, &yes)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if file == "" {
			return usagef("no file is given; name it with -i FILE")
		}
		f, err := os.Open(file)
		if err != nil {
			return usagef("the backup cannot be read: %v", err)
		}
		defer f.Close()
		c, err := t.api()
		if err != nil {
			return err
		}
		if err := t.confirm(yes, "bring %s into the server at %s", file, c.server); err != nil {
			return err
		}
		resp, err := sendBackup(ctx, c, f)
		if err != nil {
			return err
		}
		t.printf("restored %d rows of %s\n", resp.GetRows(), stamp(resp.GetBackupTime()))
		return nil
	})
	return cmd
}

func sendBackup(ctx context.Context, c *client, f io.Reader) (*catalogv1.RestoreResponse, error) {
	stream, err := c.access.Restore(ctx)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 && stream.Send(&catalogv1.RestoreRequest{Chunk: buf[:n]}) != nil {
			break // the server's answer says why
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
	}
	return stream.CloseAndRecv()
}
