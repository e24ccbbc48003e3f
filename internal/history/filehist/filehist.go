// Package filehist keeps the segments of history as files of a folder.
package filehist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/towpath-dev/towpath/internal/history"
)

// Store is a folder of segments. Make it with Open.
type Store struct{ dir string }

var _ history.Store = (*Store)(nil)

const (
	tmpPrefix = ".tmp-"
	dirMode   = 0o700
)

// Open makes the folder if need be, and removes what a crash left half written in it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("folder of history: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of history: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			_ = os.Remove(filepath.Join(dir, e.Name())) // it is in nobody's way
		}
	}
	return &Store{dir: dir}, nil
}

// Put implements history.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(s.dir, tmpPrefix)
	if err != nil {
		return history.Unavailable("write "+name, err)
	}
	defer os.Remove(tmp.Name()) // after the renaming there is none
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(s.dir, name))
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return history.Unavailable("write "+name, err)
	}
	return nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read implements history.Store.
func (s *Store) Read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, history.NotFound(name, err)
	}
	if err != nil {
		return nil, history.Unavailable("read "+name, err)
	}
	defer f.Close()
	out := make([]byte, length)
	switch _, err := f.ReadAt(out, offset); {
	case errors.Is(err, io.EOF):
		return nil, history.NotFound(name, err)
	case err != nil:
		return nil, history.Unavailable("read "+name, err)
	}
	return out, nil
}

// List implements history.Store.
func (s *Store) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.dir) // in the order of names
	if err != nil {
		return nil, history.Unavailable("list its segments", err)
	}
	var names []string
	for _, e := range entries {
		if history.CheckName(e.Name()) == nil && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Delete implements history.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return history.Unavailable("remove "+name, err)
	}
	return nil
}
