package render_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// impure are packages of the standard library that know a clock, chance, the network, files or other processes.
var impure = []string{"time", "math/rand", "math/rand/v2", "crypto/rand", "maphash", "hash/maphash", "net", "net/http", "os", "os/exec", "os/signal", "io/ioutil", "syscall",
	"unsafe", "plugin", "log", "log/slog", "runtime", "runtime/debug", "database/sql"}

// excused are imports of our own packages that rendering reaches and does not depend on, with the reason.
var excused = map[string]string{
	"internal/errs context": "tells a cancelled call from other errors; rendering has none",
	// What reads the clock is looked for in the sources of these.
	"services/renderer/kube time":   "reads durations that people write",
	"services/renderer/schema time": "tells what is a time as Kubernetes writes it",
	"internal/manifest time":        "YAML gives dates as a type of that package",
}

// Rendering is pure because nothing that it is made of imports a way out: neither a clock nor chance, files, the network or a
// context, which could only be of use to wait for something.
func TestRenderingImportsNoClockChanceNetworkOrFiles(t *testing.T) {
	const module = "github.com/towpath-dev/towpath/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Dir", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	checked := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var pkg struct {
			ImportPath string
			Imports    []string
			Dir        string
		}
		if err := d.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		ours, ok := strings.CutPrefix(pkg.ImportPath, module)
		if !ok || strings.HasPrefix(ours, "gen/") {
			continue
		}
		checked++
		for _, i := range pkg.Imports {
			for _, way := range append(impure, "context") {
				switch {
				case i != way:
				case excused[ours+" "+i] == "":
					t.Errorf("%s imports %s: the same input would not always give the same bytes", ours, i)
				case i == "time":
					noClock(t, pkg.Dir)
				}
			}
		}
	}
	if checked < 8 {
		t.Fatalf("go list gives %d packages of ours only", checked)
	}
}

var clock = regexp.MustCompile(`\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTicker|NewTimer|Local)\b`)

// noClock looks for uses of the clock in a package's sources.
func noClock(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", dir, err)
	}
	for _, file := range files {
		if found := clock.FindString(string(read(t, file))); found != "" && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s uses %s: the same input would not always give the same bytes", file, found)
		}
	}
}
