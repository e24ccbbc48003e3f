package events

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/towpath-dev/towpath/internal/errs"
)

// seedFile gives the file of a role's seed under the server's folder.
func seedFile(dir string, r Role) string { return filepath.Join(dir, string(r)+".nk") }

// loadKeys reads the seeds, makes the missing ones, and gives the public keys. Only these reach the server.
func loadKeys(dir string) (map[Role]string, error) {
	public := map[Role]string{}
	for _, r := range Roles {
		key, err := loadOrMakeSeed(seedFile(dir, r))
		if err != nil {
			return nil, err
		}
		public[r] = key
	}
	return public, nil
}

func loadOrMakeSeed(path string) (public string, err error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeSeed(path)
	}
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	defer clear(seed)
	key, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return "", errs.InvalidField(path, "is not an nkey seed; remove the file and a new one is made at the next start").Because(err)
	}
	defer key.Wipe()
	return key.PublicKey()
}

// makeSeed writes a new key so that a crash leaves either none or a whole one.
func makeSeed(path string) (public string, err error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	defer key.Wipe()
	seed, err := key.Seed()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	defer clear(seed)
	if err := writeFile(path, append(seed, '\n')); err != nil {
		return "", fmt.Errorf("write key: %w", err)
	}
	return key.PublicKey()
}

// writeFile writes mode 0600, synced, by renaming.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // best effort: the write's own error is the one that matters
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
