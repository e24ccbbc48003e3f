package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/towpath-dev/towpath/internal/manifest"
)

const (
	// watchSettle is how long nothing must change before it is rendered again: an editor writes, renames and sets modes in one go.
	watchSettle = 40 * time.Millisecond
	// watchSettleMost bounds the wait where something changes all the time.
	watchSettleMost = time.Second
)

// watchRender renders whenever an input changes, until ctx is done. What is wrong with the input is told and ends nothing.
func (t *tow) watchRender(ctx context.Context, f *renderFlags) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer func() { _ = w.Close() }() // there is nothing left to be told
	v := &inputWatch{w: w, folders: map[string]bool{}}
	var last *rendered
	for first := true; ; first = false {
		now, err := t.renderWatched(ctx, f, v)
		var usage *usageError
		switch {
		case ctx.Err() != nil:
			return nil
		case first && errors.As(err, &usage):
			return err
		case errors.As(err, &usage):
			t.notef("error: %s", usage.msg)
		case err != nil:
			t.fail(nil, err)
		default:
			if err := t.showRendered(f, last, now); err != nil {
				t.fail(nil, err)
				break
			}
			last = now
		}
		t.notef("waiting for changes; Ctrl-C ends")
		if !v.changed(ctx) {
			return nil
		}
	}
}

// renderWatched renders once, with every input watched from before it was read. A folder that the reading has found to matter may
// have changed before it was watched, and then all is read again.
func (t *tow) renderWatched(ctx context.Context, f *renderFlags, v *inputWatch) (*rendered, error) {
	v.follow(f.inputs())
	for {
		f.read = nil
		var notes strings.Builder
		reading := *t // its warnings are told once, by the last reading
		reading.Stderr = &notes
		out, err := reading.rendered(ctx, f)
		if v.follow(f.inputs()) {
			continue
		}
		fmt.Fprint(t.Stderr, notes.String())
		return out, err
	}
}

// showRendered writes the folder where there is one, and tells what is different from the last time.
func (t *tow) showRendered(f *renderFlags, last, now *rendered) error {
	if f.out != "-" {
		if err := t.writeFolder(f, now); err != nil {
			return err
		}
	}
	if last == nil {
		t.printf("rendered %s, tree %s\n", plural(len(now.files), "file"), now.tree)
		return nil
	}
	p, err := t.printer("table")
	if err != nil {
		return err
	}
	if text := p.differences(manifest.Compare(last.files, now.files, nil).GetText()); text != "" {
		t.printf("%s", text)
	} else {
		t.printf("no manifest changes\n")
	}
	return nil
}

// watchedInputs are the files that a rendering depends on, and folders with what counts in them. All paths are absolute.
type watchedInputs struct {
	files   map[string]bool
	folders map[string]func(name string) bool
}

// inputs gives what the next rendering will read, as far as the flags and the last one tell.
func (f *renderFlags) inputs() *watchedInputs {
	in := &watchedInputs{files: map[string]bool{}, folders: map[string]func(string) bool{}}
	for _, name := range f.scores.files {
		in.files[absolute(name)] = true
		if isFolder(name) {
			in.folders[absolute(name)] = isScoreFile
			if found, err := filesIn(name, isScoreFile); err == nil {
				in.add(found...)
			}
		}
	}
	for _, dir := range f.definitionIn {
		in.files[absolute(dir)] = true
		in.folders[absolute(dir)] = isDefinitionFile
	}
	for _, name := range f.provisioners {
		in.files[absolute(name)] = true
		if isFolder(name) {
			in.folders[absolute(name)] = isProvisionerFile
			if found, err := provisionersIn(name); err == nil {
				in.add(found...)
			}
		}
	}
	for _, o := range f.scores.overrides {
		if _, name, named := strings.Cut(o, "="); named {
			in.add(name)
		}
		in.add(o)
	}
	in.add(f.definitions...)
	in.add(f.variableFiles...)
	in.add(f.inputFile, f.typeFile, f.resourcesFile, f.outputsFile)
	in.add(f.read...)
	return in
}

// add adds files, and what they are links to.
func (in *watchedInputs) add(names ...string) {
	for _, name := range names {
		if name == "" || name == "-" {
			continue
		}
		in.files[absolute(name)] = true
		if to, err := filepath.EvalSymlinks(name); err == nil {
			in.files[absolute(to)] = true
		}
	}
}

// concerns reports whether a change of the path can change the rendering: an input, something in a folder of inputs, or a folder on
// the way to one, which came or went.
func (in *watchedInputs) concerns(path string) bool {
	if in.files[path] {
		return true
	}
	if wanted := in.folders[filepath.Dir(path)]; wanted != nil && wanted(filepath.Base(path)) {
		return true
	}
	for file := range in.files {
		if strings.HasPrefix(file, path+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

func absolute(name string) string {
	out, err := filepath.Abs(name)
	if err != nil {
		return filepath.Clean(name)
	}
	return out
}

// inputWatch watches the folders of inputs. It watches folders and not files because editors put new files in the place of old ones.
type inputWatch struct {
	w       *fsnotify.Watcher
	in      *watchedInputs
	folders map[string]bool
}

// follow watches the folders of these inputs, or the nearest folder above one that is not there. It reports whether one is new.
func (v *inputWatch) follow(in *watchedInputs) (added bool) {
	v.in = in
	wanted := map[string]bool{}
	for file := range in.files {
		dir := filepath.Dir(file)
		if in.folders[file] != nil {
			wanted[nearest(file)] = true
		}
		wanted[nearest(dir)] = true
	}
	watched := v.w.WatchList()
	for dir := range wanted {
		if slices.Contains(watched, dir) {
			continue
		}
		if err := v.w.Add(dir); err == nil && !v.folders[dir] {
			added, v.folders[dir] = true, true
		}
	}
	for _, dir := range watched {
		if !wanted[dir] {
			_ = v.w.Remove(dir) // it may be gone already
			delete(v.folders, dir)
		}
	}
	return added
}

// nearest gives the folder, or the nearest one above it that exists.
func nearest(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// changed waits for a change of an input and until no other follows for a while. It is false when ctx is done.
func (v *inputWatch) changed(ctx context.Context) bool {
	var quiet, most <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-quiet:
			return true
		case <-most:
			return true
		case e, ok := <-v.w.Events:
			if !ok {
				return false
			}
			if e.Op == fsnotify.Chmod || !v.in.concerns(e.Name) {
				continue
			}
			if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
				delete(v.folders, e.Name) // a watched folder that went is no longer watched, also when it comes again
			}
		case _, ok := <-v.w.Errors: // events were lost: anything may have changed
			if !ok {
				return false
			}
		}
		quiet = time.After(watchSettle)
		if most == nil {
			most = time.After(watchSettleMost)
		}
	}
}
