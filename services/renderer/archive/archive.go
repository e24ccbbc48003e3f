// Package archive packs and unpacks the folders that resource definitions bring along: Helm charts and kustomize bases, as .tgz.
// It is pure: everything happens in memory. An archive comes from outside, so that unpacking trusts nothing in it: neither the
// names of its files nor what they claim to be, nor how large they say they are.
package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// MaxSize is how large an archive may be, in bytes.
const MaxSize = 1 << 20

// Limits of what is in an archive.
const (
	maxFiles    = 2000
	maxUnpacked = 16 << 20
	maxFile     = 4 << 20
	maxName     = 512
	maxDepth    = 32
)

// Files are an archive's files by their path below its top, with slashes.
type Files map[string][]byte

// Digest gives the name of an archive: "sha256:" and the digest in hex.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// IsDigest reports whether a text can be what Digest gives.
func IsDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 2*sha256.Size && strings.Trim(digits, "0123456789abcdef") == ""
}

// Pack makes an archive. The same files give the same bytes, and so the same digest: names are sorted, and there are no times,
// owners or modes.
func Pack(files Files) ([]byte, error) {
	if len(files) == 0 {
		return nil, errors.New("there are no files to pack")
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	t := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if problem := badName(name); problem != "" {
			return nil, fmt.Errorf("%.200q %s", name, problem)
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if out.Len() > MaxSize {
		return nil, fmt.Errorf("is %d bytes when packed, the limit is %d: leave out what rendering does not need", out.Len(), MaxSize)
	}
	return out.Bytes(), nil
}

// Unpack gives the files of an archive. When all of them are in one folder, as Helm packs its charts, that folder is left out of
// the names. The error says in plain words what is wrong.
func Unpack(data []byte) (Files, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("is %d bytes, the limit is %d", len(data), MaxSize)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("is no .tgz: it does not begin as gzip does")
	}
	t := tar.NewReader(io.LimitReader(z, maxUnpacked+maxFiles*2048)) // what holds the files counts too
	files, left := Files{}, int64(maxUnpacked)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("is damaged, or unpacks to more than %d bytes: %s", maxUnpacked, strings.TrimPrefix(err.Error(), "archive/tar: "))
		}
		if err := take(files, t, h, &left); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("holds no files")
	}
	return withoutTop(files), nil
}

// take reads one entry.
func take(files Files, t *tar.Reader, h *tar.Header, left *int64) error {
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink, tar.TypeLink:
		return fmt.Errorf("holds the link %.200q: links are not followed; put a copy of the file in its place", h.Name)
	default:
		return fmt.Errorf("holds %.200q, which is neither a file nor a folder", h.Name)
	}
	name := strings.TrimPrefix(h.Name, "./")
	if problem := badName(name); problem != "" {
		return fmt.Errorf("holds the file %.200q, whose name %s", h.Name, problem)
	}
	if _, twice := files[name]; twice {
		return fmt.Errorf("holds the file %.200q twice", name)
	}
	if len(files) >= maxFiles {
		return fmt.Errorf("holds more than %d files", maxFiles)
	}
	limit := min(*left, maxFile)
	content, err := io.ReadAll(io.LimitReader(t, limit+1))
	if err != nil {
		return fmt.Errorf("is damaged at the file %.200q", name)
	}
	if int64(len(content)) > limit {
		return fmt.Errorf("is too large when unpacked at the file %.200q: a file may have %d bytes, all together %d", name, maxFile, maxUnpacked)
	}
	*left -= int64(len(content))
	files[name] = content
	return nil
}

// badName says what is wrong with a file's name. Only what is below the top and the same on every system is let in.
func badName(name string) string {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Sprintf("is empty or longer than %d bytes", maxName)
	case path.IsAbs(name) || strings.ContainsAny(name, "\\:\x00"):
		return "is no path below the archive's top"
	case path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return "leaves the archive's folder, or is not written plainly"
	case strings.Count(name, "/") > maxDepth:
		return fmt.Sprintf("is more than %d folders deep", maxDepth)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return "has characters that are not text"
		}
	}
	return ""
}

// withoutTop takes the one folder that all files are in off their names.
func withoutTop(files Files) Files {
	top := ""
	for name := range files {
		first, _, inFolder := strings.Cut(name, "/")
		if !inFolder || top != "" && first != top {
			return files
		}
		top = first
	}
	out := make(Files, len(files))
	for name, content := range files {
		out[strings.TrimPrefix(name, top+"/")] = content
	}
	return out
}
