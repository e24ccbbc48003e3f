package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/renderer/archive"
)

func TestTheSameFilesGiveTheSameArchive(t *testing.T) {
	files := archive.Files{"b/c.yaml": []byte("c"), "a.yaml": []byte("a"), "b/a.yaml": nil}
	first, err := archive.Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := archive.Pack(files)
		if err != nil || archive.Digest(again) != archive.Digest(first) {
			t.Fatalf("%s %s %v", archive.Digest(first), archive.Digest(again), err)
		}
	}
	got, err := archive.Unpack(first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b/c.yaml": "c", "a.yaml": "a", "b/a.yaml": ""}, texts(got)); diff != "" {
		t.Error(diff)
	}
	if !archive.IsDigest(archive.Digest(first)) || archive.IsDigest("sha256:xyz") || archive.IsDigest(strings.Repeat("a", 64)) {
		t.Error("digests are not told apart")
	}
}

func TestTheOneFolderThatAllIsInIsLeftOut(t *testing.T) {
	got, err := archive.Unpack(packed(t, tar.Header{Name: "chart/", Typeflag: tar.TypeDir}, file("chart/Chart.yaml"), file("./chart/templates/a.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"Chart.yaml": "x", "templates/a.yaml": "x"}, texts(got)); diff != "" {
		t.Error(diff)
	}
}

func TestArchivesThatAreNotWhatTheySeemAreRefused(t *testing.T) {
	many := make([]tar.Header, 2001)
	for i := range many {
		many[i] = file("f" + strings.Repeat("a", i%200) + string(rune('a'+i/200)))
	}
	large := file("large")
	large.Size = 5 << 20
	for says, data := range map[string][]byte{
		"is no .tgz":                     []byte("PK\x03\x04"),
		"holds no files":                 packed(t),
		"is damaged":                     packed(t, file("a"))[:40],
		"leaves the archive's folder":    packed(t, file("a/../../etc/passwd")),
		"is no path below":               packed(t, file("/etc/passwd")),
		`is no path below the`:           packed(t, file(`a\..\..\b`)),
		"holds the link \"l\"":           packed(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"holds the link \"h\"":           packed(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a"}),
		"neither a file nor a folder":    packed(t, tar.Header{Name: "d", Typeflag: tar.TypeBlock}),
		"twice":                          packed(t, file("a"), file("a")),
		"more than 2000 files":           packed(t, many...),
		"a file may have 4194304 bytes":  packed(t, large),
		"all together 16777216":          packed(t, sized("a", 4<<20), sized("b", 4<<20), sized("c", 4<<20), sized("d", 4<<20), sized("e", 1)),
		"folders deep":                   packed(t, file(strings.Repeat("d/", 40)+"f")),
		"characters that are not text":   packed(t, file("a\nb")),
		"is 1048577 bytes, the limit is": make([]byte, 1<<20+1),
	} {
		if files, err := archive.Unpack(data); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %d files and %v", says, len(files), err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("PK"))
	if data, err := archive.Pack(archive.Files{"a": []byte("b")}); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := archive.Unpack(data)
		if err != nil {
			return
		}
		if _, err := archive.Pack(files); err != nil && !strings.Contains(err.Error(), "when packed") {
			t.Errorf("what was unpacked cannot be packed: %v", err)
		}
	})
}

func texts(files archive.Files) map[string]string {
	out := map[string]string{}
	for name, content := range files {
		out[name] = string(content)
	}
	return out
}

func file(name string) tar.Header { return sized(name, 1) }

func sized(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
}

// packed makes an archive as somebody would who means harm.
func packed(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
