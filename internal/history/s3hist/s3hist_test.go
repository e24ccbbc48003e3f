package s3hist_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/history"
	"github.com/towpath-dev/towpath/internal/history/historytest"
	"github.com/towpath-dev/towpath/internal/history/s3hist"
)

// server starts an S3 server of its own and gives its address.
func server(t *testing.T, buckets ...string) string {
	t.Helper()
	backend := s3mem.New()
	for _, b := range buckets {
		if err := backend.CreateBucket(b); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func open(t *testing.T, endpoint, bucket, prefix string) *s3hist.Store {
	t.Helper()
	s, err := s3hist.Open(s3hist.Config{
		Endpoint: endpoint, Plain: true, Region: "us-east-1", Bucket: bucket, Prefix: prefix, AccessKey: "access", SecretKey: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	addr := server(t, "history")
	historytest.Run(t, func(t *testing.T) history.Store { return open(t, addr, "history", "towpath/") })
}

func TestPrefixesKeepInstallationsApart(t *testing.T) {
	addr := server(t, "history")
	a, b := open(t, addr, "history", "a/"), open(t, addr, "history", "b/")
	if err := a.Put(t.Context(), "x.seg", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := b.List(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("b lists %v, %v", names, err)
	}
	if names, err := a.List(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("a lists %v, %v", names, err)
	}
}

func TestAStoreThatCannotWorkSaysSo(t *testing.T) {
	s := open(t, server(t), "none", "")
	if err := s.Put(t.Context(), "x.seg", []byte("x")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("put into a bucket that does not exist: %v", err)
	}
	for _, cfg := range []s3hist.Config{{}, {Endpoint: "https://example.com", Bucket: "b"}, {Endpoint: "example.com"}} {
		if _, err := s3hist.Open(cfg); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
