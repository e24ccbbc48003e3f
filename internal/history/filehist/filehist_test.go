package filehist_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/towpath-dev/towpath/internal/history"
	"github.com/towpath-dev/towpath/internal/history/filehist"
	"github.com/towpath-dev/towpath/internal/history/historytest"
)

func TestSuite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	historytest.Run(t, func(t *testing.T) history.Store {
		s, err := filehist.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestWhatACrashLeftHalfWrittenIsGone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".tmp-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := filehist.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	names, err := s.List(t.Context())
	if err != nil || len(names) != 0 {
		t.Errorf("list = %v, %v", names, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%s is still there", left[0].Name())
	}
}
