package events

import (
	"log/slog"
	"testing"
	"time"
)

func TestAStreamThatIsAsWantedIsNotUpdated(t *testing.T) {
	s, err := StartServer(ServerConfig{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	b, err := Connect(t.Context(), Config{Server: s, Role: RoleCatalog, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := StreamsConfig{}.withDefaults()
	for _, want := range cfg.streams() {
		have, err := b.js.Stream(t.Context(), want.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !sameStream(have.CachedInfo().Config, want) {
			t.Errorf("%s would be updated again:\nhave %+v\nwant %+v", want.Name, have.CachedInfo().Config, want)
		}
		want.MaxAge += time.Hour
		if sameStream(have.CachedInfo().Config, want) {
			t.Errorf("%s with another age limit would not be updated", want.Name)
		}
	}
	bucket, err := b.js.ObjectStore(t.Context(), payloadBucket)
	if err != nil {
		t.Fatal(err)
	}
	want := cfg.payloads()
	if !sameBucket(t.Context(), bucket, want) {
		t.Error("the bucket of large bodies would be updated again")
	}
	want.TTL += time.Hour
	if sameBucket(t.Context(), bucket, want) {
		t.Error("the bucket with another age limit would not be updated")
	}
}
