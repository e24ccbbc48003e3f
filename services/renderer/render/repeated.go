package render

import (
	"reflect"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/kube"
)

// repeatable is an object that several resources make, as provisioners of the Score community do with a server that they share.
type repeatable struct {
	object map[string]any
	first  *resource
}

// addMade adds an object that a definition made. One that may be made several times is there once, and is nobody's own then. Two
// that differ are refused as everywhere.
func (f *files) addMade(o map[string]any, again bool, res *resource, place kube.Place) error {
	if !again {
		return f.addResource(o, res, place)
	}
	kind, _ := o["kind"].(string)
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	file := strings.ToLower(kind) + "-" + name + ".yaml"
	before, there := f.repeated[file]
	if !there {
		if f.repeated == nil {
			f.repeated = map[string]repeatable{}
		}
		f.repeated[file] = repeatable{o, res}
		return f.addResource(o, res, place)
	}
	if !reflect.DeepEqual(before.object, o) {
		return f.addResource(o, res, place) // which says who else makes it
	}
	if before.first.owner == res.owner || before.first.shared() {
		return nil
	}
	return f.share(o, file, before.first, place)
}

// share writes an object again as one that belongs to no workload alone.
func (f *files) share(o map[string]any, file string, first *resource, place kube.Place) error {
	nobody := *first
	nobody.owner = ""
	delete(f.from, file)
	f.size -= len(f.content[file])
	for i, ref := range f.objects {
		if ref.GetFile() == file {
			f.objects = append(f.objects[:i], f.objects[i+1:]...)
			break
		}
	}
	return f.addResource(o, &nobody, place)
}
