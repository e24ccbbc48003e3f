package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/archive"
	"github.com/towpath-dev/towpath/services/renderer/document"
)

// withArchive reads a definition file with its chart or base, which is where a flag says, or else the file itself.
func withArchive(text []byte, file, flag string) (*rendererv1.ResourceDefinition, error) {
	d, at, err := document.WithArchive(text)
	if err != nil {
		return nil, err
	}
	switch {
	case flag != "":
		at = flag
	case at == "":
		return d, nil
	case filepath.IsAbs(at):
	case file != "-":
		at = filepath.Join(filepath.Dir(file), filepath.FromSlash(at))
	}
	data, err := readArchive(at)
	if err != nil {
		return nil, err
	}
	return d, document.PutArchive(d, data)
}

// readArchive reads a .tgz, or packs a folder: the same files give the same digest on every machine.
func readArchive(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, errs.InvalidField("--archive", "%s cannot be read: %s", name, reasonOf(err))
	}
	if info.IsDir() {
		return packFolder(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errs.InvalidField("--archive", "%s cannot be read: %s", name, reasonOf(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, archive.MaxSize+1))
	if err == nil {
		_, err = archive.Unpack(data)
	}
	if err != nil {
		return nil, badArchive(name, err)
	}
	return data, nil
}

func badArchive(name string, err error) error {
	return errs.InvalidField("--archive", "%s %s", name, errs.Message(plainError(err)))
}

// plainError lets the message of an error of another package be shown: it is about a file of the person who reads it.
func plainError(err error) error {
	var e *errs.Error
	if errors.As(err, &e) {
		return err
	}
	return errs.New(errs.Invalid, 0, "%s", err)
}

func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// packFolder packs a folder without what belongs to version control.
func packFolder(dir string) ([]byte, error) {
	files, size := archive.Files{}, 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == ".git" {
			return filepath.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("holds %s, which is no plain file: links are not followed; put a copy in its place", path)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := readLimited(path)
		if err != nil {
			return err
		}
		if size += len(content); size > maxFolder {
			return fmt.Errorf("holds more than %d bytes: leave out what rendering does not need", maxFolder)
		}
		files[filepath.ToSlash(rel)] = content
		return nil
	})
	if err != nil {
		return nil, badArchive(dir, err)
	}
	data, err := archive.Pack(files)
	if err == nil {
		_, err = archive.Unpack(data)
	}
	if err != nil {
		return nil, badArchive(dir, err)
	}
	return data, nil
}

// maxFolder keeps a wrong folder, such as the home, from being read as a whole.
const maxFolder = 16 << 20

// saveArchive writes the chart or base of a version to a file.
func (t *tow) saveArchive(v *catalogv1.DefinitionVersion, to string) error {
	data := v.GetContent().GetArchive()
	if len(data) == 0 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_INVALID_FIELD, "%s has no chart or base: only definitions with the drivers helm and kustomize do", v.GetName())
	}
	if to == "-" {
		_, err := t.Stdout.Write(data)
		return err
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	t.notef("wrote %s to %s, %s", last(v.GetName()), to, archive.Digest(data))
	return nil
}

// withoutArchive leaves the bytes out of what is printed; their digest is in the inputs.
func withoutArchive(v *catalogv1.DefinitionVersion) *catalogv1.DefinitionVersion {
	if len(v.GetContent().GetArchive()) == 0 {
		return v
	}
	out := proto.CloneOf(v)
	out.Content.Archive = nil
	return out
}
