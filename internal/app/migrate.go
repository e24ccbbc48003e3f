package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/transfer"
	"github.com/towpath-dev/towpath/services/catalog"
)

func migrateCommand(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Move the catalog's data to another store", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var dataDir, url string
	toEtcd := &cobra.Command{
		Use: "bolt-to-etcd", Short: "Copy the catalog from its file into etcd", Args: cobra.NoArgs,
		Long: "Copies every row of DATA-DIR/catalog/catalog.db into an etcd prefix that nothing uses yet, and compares both. towpathd must be\n" +
			"stopped. The file is only read. A copy that was interrupted is not usable; run the command again, it starts over.\n" +
			"Afterwards history, request ids and unpublished work are as before; etags that clients hold are refused once, as\n" +
			"after any change by somebody else.",
		Example: "  towpathd migrate bolt-to-etcd --data-dir /var/lib/towpath --store etcd://10.0.0.5:2379,10.0.0.6:2379,10.0.0.7:2379/towpath",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return boltToEtcd(cmd.Context(), stdout, cmd.ErrOrStderr(), dataDir, url)
		},
	}
	toEtcd.Flags().StringVar(&dataDir, "data-dir", "", "folder of the server whose catalog is copied (required)")
	toEtcd.Flags().StringVar(&url, "store", "", "where to: etcd://host:2379,host2:2379/prefix (required)")
	cmd.AddCommand(toEtcd)
	return cmd
}

// boltToEtcd copies the catalog. Nothing reads the destination before it is complete.
func boltToEtcd(ctx context.Context, stdout, stderr io.Writer, dataDir, url string) (err error) {
	cfg, err := checkMigration(dataDir, url)
	if err != nil {
		return err
	}
	from, err := boltkv.Open(boltkv.Config{Path: boltFile(dataDir), RetainAge: -1, RetainRevisions: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	head, err := store.Revision(ctx, from)
	if err != nil {
		return err
	}
	to, err := etcdkv.OpenImport(ctx, cfg, head)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	report, err := transfer.Copy(ctx, from, to, transfer.Options{
		Positions: catalog.LogPositions(), Skip: []string{etcdkv.LeasePrefix},
		Progress: func(done, total int) { fmt.Fprintf(stderr, "copied %d of %d rows\n", done, total) },
	})
	if err != nil {
		return fmt.Errorf("the copy is not complete and nothing uses it; run the command again, it starts over: %w", err)
	}
	if err := to.FinishImport(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d rows copied and compared, sha256 %s\n", report.Rows, report.Digest)
	if report.Cut {
		fmt.Fprintln(stdout, "The file's change log no longer reached back to what was published last: unfinished deployments go on, subscribers miss the states in between.")
	}
	fmt.Fprintf(stdout, "Start every catalog process with --store, --nats-url and --admin-token-file (this server's is %s).\n"+
		"Keep %s until you are sure, and start no server on it any more.\n", dataDir+"/admin-token", boltFile(dataDir))
	return nil
}

func checkMigration(dataDir, url string) (etcdkv.Config, error) {
	var bad []errs.Field
	if dataDir == "" {
		bad = append(bad, errs.Field{Path: "--data-dir", Problem: "is needed: the folder of the server whose catalog is copied"})
	} else if _, err := os.Stat(boltFile(dataDir)); err != nil {
		bad = append(bad, errs.Field{Path: "--data-dir", Problem: fmt.Sprintf("holds no catalog: %v", err)})
	}
	if url == "" {
		bad = append(bad, errs.Field{Path: "--store", Problem: "is needed: etcd://host:2379,host2:2379/prefix"})
	}
	if len(bad) > 0 {
		return etcdkv.Config{}, errs.InvalidFields(bad...)
	}
	return parseStore(url)
}
