package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

func (w *world) backup() []byte {
	w.t.Helper()
	stream, err := w.access.Backup(w.t.Context(), &catalogv1.BackupRequest{})
	must(w.t, err)
	var out []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(w.t, err)
		out = append(out, m.GetChunk()...)
	}
}

func (w *world) restore(file []byte) (*catalogv1.RestoreResponse, error) {
	w.t.Helper()
	stream, err := w.access.Restore(w.t.Context())
	must(w.t, err)
	for chunk := range slices.Chunk(file, 10_000) {
		if err := stream.Send(&catalogv1.RestoreRequest{Chunk: chunk}); err != nil {
			break // the answer says why
		}
	}
	return stream.CloseAndRecv()
}

// everything lists what people see of a catalog, etags left out.
func (w *world) everything() []proto.Message {
	w.t.Helper()
	ctx := w.t.Context()
	var out []proto.Message
	add := func(m proto.Message, err error) {
		must(w.t, err)
		out = append(out, m)
	}
	add(w.api.ListApplications(ctx, &catalogv1.ListApplicationsRequest{}))
	add(w.api.ListEnvironmentTypes(ctx, &catalogv1.ListEnvironmentTypesRequest{}))
	add(w.api.ListTargets(ctx, &catalogv1.ListTargetsRequest{}))
	add(w.api.ListRepositories(ctx, &catalogv1.ListRepositoriesRequest{}))
	envs, err := w.api.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
	envs.ResumeToken = "" // of this store alone
	add(envs, err)
	for _, d := range w.history("applications/shop/environments/dev", 100) {
		out = append(out, d)
	}
	return out
}

var ignoreEtags = cmp.Options{protocmp.Transform(), protocmp.IgnoreFields(&catalogv1.Application{}, "etag"),
	protocmp.IgnoreFields(&catalogv1.EnvironmentType{}, "etag"), protocmp.IgnoreFields(&catalogv1.Target{}, "etag"),
	protocmp.IgnoreFields(&catalogv1.Repository{}, "etag"), protocmp.IgnoreFields(&catalogv1.Environment{}, "etag"),
	protocmp.IgnoreFields(&catalogv1.Deployment{}, "etag")}

func TestABackupRestoresTheWholeCatalogElsewhere(t *testing.T) {
	ctx := t.Context()
	kv := memkv.New()
	a := oldWorld(t, kv, t.TempDir(), catalog.ArchiveConfig{KeepDeployments: 5})
	past(t, kv, "shop", "dev", 1, 200, 48*time.Hour)
	_, err := a.svc.Archive(ctx)
	must(t, err)
	created := &catalogv1.CreateApplicationRequest{ApplicationId: "shop", RequestId: "make-shop"}
	_, err = a.api.CreateApplication(ctx, created)
	must(t, err)
	_, err = a.api.UpdateEnvironmentType(ctx, &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: &catalogv1.EnvironmentType{
		Name: "environmentTypes/development", DisplayName: "Changed", Target: "targets/default",
	}})
	must(t, err)
	_, err = a.api.DeleteEnvironmentType(ctx, &catalogv1.DeleteEnvironmentTypeRequest{Name: "environmentTypes/staging"})
	must(t, err)
	a.env("shop", "dev")
	tok, err := a.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(t, err)
	asked := &catalogv1.CreateDeploymentRequest{
		Parent: "applications/shop/environments/dev", Change: &catalogv1.Change{Variables: map[string]string{"N": "1"}}, RequestId: "ship-1",
	}
	d, err := a.api.CreateDeployment(ctx, asked)
	must(t, err)
	trail := a.trail("")
	file := a.backup()
	if bytes.Contains(file, []byte(tok.GetSecret())) {
		t.Error("the file has a token's secret")
	}

	const other = "tow_another0admin0secret0of0the0suite"
	b, bus := lightWorld(t, memkv.New(), historyIn(t), func(c *catalog.Config) {
		c.BootstrapToken, c.Bus.(*lightBus).empty = other, true
	})
	b.become(other)
	resp, err := b.restore(file)
	must(t, err)
	if resp.GetRows() < 200 || time.Since(resp.GetBackupTime().AsTime()) > time.Minute {
		t.Errorf("restored %v", resp)
	}
	if diff := cmp.Diff(a.everything(), b.everything(), ignoreEtags); diff != "" {
		t.Errorf("what is there (-before +restored):\n%s", diff)
	}
	// The trail of before, and the restore itself.
	after := b.trail("")
	if diff := cmp.Diff(trail, after[len(after)-len(trail):], protocmp.Transform()); diff != "" {
		t.Errorf("the audit trail (-before +restored):\n%s", diff)
	}
	if e := b.oneEvent("action = restore"); e.GetCode() != "OK" {
		t.Errorf("event of the restore = %v", e)
	}
	// Tokens of before let in; the new server's own still does, the old server's first does not.
	who, err := catalogv1.NewAccessServiceClient(b.dial(tok.GetSecret())).WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	must(t, err)
	if who.GetSubject() != "tokens/ci" {
		t.Errorf("the token is taken for %s", who.GetSubject())
	}
	_, err = catalogv1.NewAccessServiceClient(b.dial(adminSecret)).WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	wantError(t, err, codes.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED)
	// A call that is repeated gets the first answer, with an etag that fits.
	again, err := b.api.CreateApplication(ctx, created)
	must(t, err)
	_, err = b.api.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{Application: &catalogv1.Application{
		Name: "applications/shop", Owner: "team-b", Etag: again.GetEtag(),
	}})
	must(t, err)
	same, err := b.api.CreateDeployment(ctx, asked)
	must(t, err)
	if same.GetName() != d.GetName() {
		t.Errorf("the repeated call made %s, want %s", same.GetName(), d.GetName())
	}
	// What waited to be sent is sent, and work goes on with the next number.
	eventually(t, func() error {
		if !slices.Contains(bus.commands(), d.GetName()) {
			return fmt.Errorf("commands = %v, want %s", bus.commands(), d.GetName())
		}
		return nil
	})
	if next := b.deploy("applications/shop/environments/dev", &catalogv1.Change{Variables: map[string]string{"N": "2"}}); next.GetGeneration() != d.GetGeneration()+1 || d.GetGeneration() != 201 {
		t.Errorf("the next generation is %d after %d", next.GetGeneration(), d.GetGeneration())
	}
}

// become makes the world's clients somebody else.
func (w *world) become(secret string) {
	conn := w.dial(secret)
	w.api, w.access = catalogv1.NewCatalogServiceClient(conn), catalogv1.NewAccessServiceClient(conn)
}

func historyIn(t *testing.T) option {
	dir := t.TempDir()
	return func(c *catalog.Config) { c.History, c.Leads = mustOpen(t, dir), func() bool { return false } }
}

func TestARestoreIsRefusedWhereSomethingWasMade(t *testing.T) {
	a, _ := lightWorld(t, memkv.New())
	a.app("shop")
	file := a.backup()
	for name, change := range map[string]func(*world){
		"an application":          func(w *world) { w.app("mine") },
		"a changed type":          func(w *world) { w.renameType() },
		"a token":                 func(w *world) { w.makeToken() },
		"the backup, once before": func(w *world) { _, err := w.restore(file); must(t, err) },
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := lightWorld(t, memkv.New())
			change(b)
			before := rowsUnder(t, b.kv, "applications/")
			_, err := b.restore(file)
			if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "NOT_EMPTY" {
				t.Errorf("state = %q", e.Meta["state"])
			}
			if rowsUnder(t, b.kv, "applications/") != before {
				t.Error("something was changed all the same")
			}
		})
	}
}

func (w *world) renameType() {
	_, err := w.api.UpdateEnvironmentType(w.t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: &catalogv1.EnvironmentType{
		Name: "environmentTypes/development", DisplayName: "Changed", Target: "targets/default",
	}})
	must(w.t, err)
}

func (w *world) makeToken() {
	_, err := w.access.CreateToken(w.t.Context(), &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(w.t, err)
}

func TestADamagedBackupChangesNothing(t *testing.T) {
	a, _ := lightWorld(t, memkv.New())
	for i := range 30 {
		a.app(fmt.Sprintf("app-%d", i))
	}
	file := a.backup()
	b, _ := lightWorld(t, memkv.New())
	rapid.Check(t, func(rt *rapid.T) {
		bad := bytes.Clone(file)
		switch rapid.SampledFrom([]string{"flip", "cut", "more", "hole"}).Draw(rt, "damage") {
		case "flip":
			bad[rapid.IntRange(0, len(bad)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case "cut":
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(rt, "length")]
		case "more":
			bad = append(bad, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(rt, "more")...)
		case "hole":
			at := rapid.IntRange(0, len(bad)-2).Draw(rt, "at")
			bad = slices.Delete(bad, at, at+1)
		}
		if _, err := b.restore(bad); err != nil {
			return
		}
		// Some bits of compressed data say the same either way. Then the digest over what they say fits, and all of it must be there.
		if got := rowsUnder(t, b.kv, "applications/"); got != 30 {
			rt.Fatalf("%d applications were restored, want 30 or an error", got)
		}
		b, _ = lightWorld(t, memkv.New())
	})
	if n := rowsUnder(t, b.kv, "applications/"); n != 0 {
		t.Errorf("%d applications are there", n)
	}
	_, err := b.restore(file) // and it still can be
	must(t, err)
	if n := rowsUnder(t, b.kv, "applications/"); n != 30 {
		t.Errorf("%d applications are there after the restore, want 30", n)
	}
}

func TestABackupOfANewerVersionIsRefused(t *testing.T) {
	a, _ := lightWorld(t, memkv.New())
	file := a.backup()
	newer := append([]byte("TOWPATH BACKUP 2\n"), file[len("TOWPATH BACKUP 1\n"):]...)
	_, err := a.restore(newer)
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); !strings.Contains(e.Msg, "another version") {
		t.Errorf("message = %q", e.Msg)
	}
	_, err = a.restore([]byte("#!/bin/sh\necho this is no backup\n"))
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
}

// dyingKV fails for good some commits after a restore has begun, as the store of a process that is killed.
type dyingKV struct {
	store.KV
	begun atomic.Bool
	left  atomic.Int64
}

func (k *dyingKV) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if len(tx.Ops) > 0 && tx.Ops[0].Key == "meta/restoring" && !tx.Ops[0].Delete {
		k.begun.Store(true)
	}
	if k.begun.Load() && len(tx.Ops) > 0 && k.left.Add(-1) < 0 {
		return 0, store.Closed()
	}
	return k.KV.Commit(ctx, tx)
}

func TestARestoreThatWasCutShortLeavesAnEmptyCatalog(t *testing.T) {
	a, _ := lightWorld(t, memkv.New())
	for i := range 700 {
		putRow(t, a.kv, fmt.Sprintf("sets/%04d", i), "x")
	}
	a.app("shop")
	file := a.backup()
	for _, commits := range []int64{1, 2, 3, 4} {
		kv := &dyingKV{KV: memkv.New()}
		b, _ := lightWorldThatDies(t, kv)
		kv.left.Store(commits)
		if _, err := b.restore(file); err == nil {
			t.Fatalf("%d commits were enough", commits)
		}
		b.stop()
		if _, err := kv.Get(t.Context(), "meta/restoring"); err != nil {
			t.Fatalf("after %d commits nothing tells of the restore: %v", commits, err)
		}
		kv.left.Store(1 << 40)
		c, _ := lightWorld(t, kv)
		if n := rowsUnder(t, kv, "sets/") + rowsUnder(t, kv, "applications/"); n != 0 {
			t.Errorf("%d rows of the restore are left after %d commits", n, commits)
		}
		_, err := c.restore(file)
		must(t, err)
		if n := rowsUnder(t, kv, "sets/"); n != 700 {
			t.Errorf("%d sets after the second restore, want 700", n)
		}
		c.stop()
	}
}

// A backup that is made while others write, of an engine that knows no snapshots, is of one moment: of each application that is in
// it, its audit event is too, and the other way round.
func TestABackupWhileOthersWriteIsOfOneMoment(t *testing.T) {
	kv := struct{ store.KV }{memkv.New()}
	a, _ := lightWorld(t, kv)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = a.api.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: fmt.Sprintf("app-%d", i)})
		}
	}()
	defer func() { cancel(); <-ended }()
	for range 3 {
		file := a.backup()
		b, _ := lightWorld(t, memkv.New())
		_, err := b.restore(file)
		must(t, err)
		apps, events := rowsUnder(t, b.kv, "applications/"), len(b.trail(`method = "CatalogService/CreateApplication"`))
		if apps != events {
			t.Errorf("%d applications and %d events of their creation", apps, events)
		}
	}
}

// lightWorldThatDies is a lightWorld whose Run may fail.
func lightWorldThatDies(t *testing.T, kv store.KV) (*world, *lightBus) {
	t.Helper()
	b := newLightBus()
	w := &world{t: t, kv: kv, renderer: &fakeRenderer{}, committer: &fakeCommitter{}, mayFail: true}
	w.start(func(c *catalog.Config) { c.Bus = b })
	t.Cleanup(func() { w.stop() })
	return w, b
}
