// Package credentials reads secrets by the names that the catalog has for them: files and folders of one directory, and the
// data of Kubernetes Secrets. Which parts there are, what they mean and what is told of it is the matter of each service: only the
// service that uses credentials can resolve them. Nothing is kept here, so what is changed counts from the next reading on.
package credentials

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// MaxPart bounds one part: bundles of certificate authorities are the largest.
const MaxPart = 1 << 20

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// ValidName reports whether credentials can have the name: it never leads out of the directory.
func ValidName(s string) bool { return name.MatchString(s) && !strings.Contains(s, "..") }

// Parts tells which part a file of a folder, or a key of a Secret, is; "" for one that is none.
type Parts func(file string) string

// Found is what stands under a name.
type Found struct {
	// Where tells people: a file, a folder, a Kubernetes Secret.
	Where string
	// Parts are the parts by name, without surrounding space; empty ones are left out.
	Parts map[string]string
	// Text is the content of a single file.
	Text string
	// Files are what was read, for a look at who else may read it.
	Files []File
}

// File is a file that was read. That of a single file has no part.
type File struct {
	Part, Path string
	Mode       fs.FileMode
	// Mounted says that it is in a volume of Kubernetes, which decides about its mode.
	Mounted bool
}

// TooLargeError says that a part has more than MaxPart bytes; of a single file the part is empty.
type TooLargeError struct{ Part string }

// Error names the part.
func (e *TooLargeError) Error() string { return fmt.Sprintf("part %q is too large", e.Part) }

// ReadDir reads the file or folder of that name; nil when there is neither. Its errors hold nothing of what was read.
func ReadDir(dir, name string, parts Parts) (*Found, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return readFolder(path, parts)
	}
	text, err := readPart("", path)
	if err != nil {
		return nil, err
	}
	return &Found{Where: "a file", Parts: map[string]string{}, Text: text, Files: []File{{Path: path, Mode: info.Mode()}}}, nil
}

// readFolder reads the parts of a folder. A volume of Kubernetes changes all its files at once by swapping one link, which is
// followed once here, so that no mix of old and new is seen.
func readFolder(dir string, parts Parts) (*Found, error) {
	f := &Found{Where: "a folder", Parts: map[string]string{}}
	mounted := false
	if at, err := filepath.EvalSymlinks(filepath.Join(dir, "..data")); err == nil {
		dir, mounted = at, true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		part := parts(e.Name())
		if part == "" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := readPart(e.Name(), path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken away between the two
		}
		if err != nil {
			return nil, err
		}
		if info, err := os.Stat(path); err == nil {
			f.Files = append(f.Files, File{Part: part, Path: path, Mode: info.Mode(), Mounted: mounted})
		}
		f.set(part, text)
	}
	return f, nil
}

// OfSecret gives what the data of a Kubernetes Secret holds.
func OfSecret(data map[string][]byte, parts Parts) *Found {
	f := &Found{Where: "a Kubernetes Secret", Parts: map[string]string{}}
	for key, value := range data {
		if part := parts(key); part != "" {
			f.set(part, string(value))
		}
	}
	return f
}

func (f *Found) set(part, value string) {
	if value = strings.TrimSpace(value); value != "" {
		f.Parts[part] = value
	}
}

// Sum gives a digest of all parts, to know whether they have changed.
func (f *Found) Sum() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(f.Text), f.Text)
	for _, part := range slices.Sorted(maps.Keys(f.Parts)) {
		fmt.Fprintf(h, "%s %d\n%s", part, len(f.Parts[part]), f.Parts[part])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func readPart(part, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxPart+1))
	if err == nil && len(data) > MaxPart {
		err = &TooLargeError{Part: part}
	}
	return string(data), err
}
