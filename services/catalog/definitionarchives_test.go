package catalog_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/store"
)

// chart is a definition with the largest archive that there may be. Its bytes do not compress.
func chart(t *testing.T, typ string) *rendererv1.ResourceDefinition {
	t.Helper()
	data := make([]byte, 1<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	d := content(typ, map[string]any{"chart": "sha256:" + hex.EncodeToString(sum[:])})
	d.Driver, d.Archive = rendererv1.ResourceDefinition_DRIVER_HELM, data
	return d
}

func TestAnArchiveIsGivenWithItsVersionAndLeftOutOfLists(t *testing.T) {
	w := newDefinedWorld(t)
	w.define("cache")
	given := chart(t, "cache")
	v := w.propose("cache", proto.CloneOf(given))
	if len(v.GetContent().GetArchive()) != 0 {
		t.Error("the answer carries the archive that was just sent")
	}
	got, err := w.defs.GetDefinitionVersion(t.Context(), &catalogv1.GetDefinitionVersionRequest{Name: v.GetName()})
	must(t, err)
	if string(got.GetContent().GetArchive()) != string(given.GetArchive()) {
		t.Errorf("got an archive of %d bytes", len(got.GetContent().GetArchive()))
	}
	list, err := w.defs.ListDefinitionVersions(t.Context(), &catalogv1.ListDefinitionVersionsRequest{Parent: "resourceDefinitions/cache"})
	must(t, err)
	if n := len(list.GetDefinitionVersions()[0].GetContent().GetArchive()); n != 0 {
		t.Errorf("the list has %d bytes of archive", n)
	}
	for e, err := range store.All(t.Context(), w.kv, "") {
		must(t, err)
		if prefix := "definitionArchives/"; len(e.Value) > 1<<19 && e.Key[:len(prefix)] != prefix {
			t.Errorf("the row %s has %d bytes", e.Key, len(e.Value))
		}
	}
}

func TestTwoVersionsWithTheSameArchiveShareItsRow(t *testing.T) {
	w := newDefinedWorld(t)
	w.define("cache")
	given := chart(t, "cache")
	w.propose("cache", proto.CloneOf(given))
	w.propose("cache", proto.CloneOf(given))
	rows := 0
	for _, err := range store.All(t.Context(), w.kv, "definitionArchives/") {
		must(t, err)
		rows++
	}
	if rows != 1 {
		t.Errorf("there are %d rows", rows)
	}
}

func TestOnlyTheArchivesThatASetNeedsTravel(t *testing.T) {
	w := newDefinedWorld(t)
	sent := make(chan *rendererv1.RenderInput, 10)
	w.commands(func(cmd *eventsv1.DeploymentRequested) { sent <- cmd.GetInput() })
	needed := chart(t, "cache")
	for id, d := range map[string]*rendererv1.ResourceDefinition{"cache": needed, "queue": chart(t, "queue"), "mail": chart(t, "mail")} {
		w.define(id)
		w.active(id, proto.CloneOf(d))
	}
	w.app("shop")
	w.env("shop", "dev")
	w.asks("applications/shop/environments/dev", "cache")
	in := <-sent
	if len(in.GetDefinitions()) != 1 || string(in.GetDefinitions()[0].GetArchive()) != string(needed.GetArchive()) {
		t.Fatalf("%d definitions travel", len(in.GetDefinitions()))
	}
}
