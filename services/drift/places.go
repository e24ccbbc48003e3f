package drift

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// emptyTree is the id of the tree without entries.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// standing is one place of an environment in Git.
type standing struct {
	part       string // empty for the main place
	repository *committerv1.RepositoryRef
	commit     string
	tree       string
}

func (p standing) String() string {
	if p.part == "" {
		return "the main place in " + p.repository.GetName()
	}
	return "part " + p.part + " in " + p.repository.GetName()
}

// placesOf gives the places that hold files, the parts first.
func placesOf(d *eventsv1.DesiredState) []standing {
	main := standing{repository: d.GetRepository(), commit: d.GetCommit(), tree: d.GetTree()}
	if len(d.GetParts()) == 0 {
		return []standing{main}
	}
	var out []standing
	for _, p := range d.GetParts() {
		if p.GetTree() != "" { // the committer would take no tree for the root of the commit
			out = append(out, standing{part: p.GetId(), repository: p.GetRepository(), commit: p.GetCommit(), tree: p.GetTree()})
		}
	}
	if main.tree = d.GetMainTree(); main.tree != "" {
		out = append(out, main)
	}
	return out
}

// treeFile is a file of one of an environment's places. It is named with the part that it is of, because parts may have files of the
// same name.
type treeFile struct {
	name    string
	content []byte
}

// manifests reads the files of all places. When one cannot be read there are none: with half of the files, objects of the other half
// would look as if nobody wanted them any more. What was read is kept by its tree until all is there, so that a place that is away
// does not have the others read again and again.
func (e *environment) manifests(ctx context.Context, want *eventsv1.DesiredState) ([]treeFile, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	places := placesOf(want)
	if len(places) == 0 && want.GetTree() != emptyTree {
		// Nothing is removed because somebody forgot to say where it is.
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
			"%s has files and no place that holds them; deploy again", want.GetDeployment())
	}
	read := e.read
	e.read = nil
	var out []treeFile
	for _, p := range places {
		files, ok := read[p.tree]
		if !ok {
			tree, err := e.svc.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: p.repository, Commit: p.commit, Tree: p.tree})
			if err != nil {
				e.read = read
				return nil, unreadable(places, p, rpc.FromStatus(err))
			}
			files = tree.GetFiles()
		}
		if len(places) > 1 {
			if read == nil {
				read = map[string][]*committerv1.File{}
			}
			read[p.tree] = files
		}
		for _, f := range files {
			name := f.GetPath()
			if p.part != "" {
				name = p.part + ":" + name
			}
			out = append(out, treeFile{name: name, content: f.GetContent()})
		}
	}
	return out, nil
}

// unreadable says which of several places cannot be read.
func unreadable(places []standing, p standing, err error) error {
	if len(places) == 1 {
		return fmt.Errorf("read the tree from Git: %w", err)
	}
	return errs.New(errs.KindOf(err), errs.ReasonOf(err),
		"%s cannot be read, and nothing is changed before all of the environment can be: %s", p, errs.Message(err)).Because(err)
}

// source is what the inventory remembers of where a deployment stood in Git, so that it can be read there when the environment has
// moved since. It names credentials and holds none.
func sourceOf(d *eventsv1.DesiredState) string {
	s := &eventsv1.DesiredState{
		Repository: bare(d.GetRepository()), Path: d.GetPath(), MainTree: d.GetMainTree(),
	}
	for _, p := range d.GetParts() {
		s.Parts = append(s.Parts, &committerv1.CommittedPart{
			Id: p.GetId(), Repository: bare(p.GetRepository()), Path: p.GetPath(), Commit: p.GetCommit(), Tree: p.GetTree(),
		})
	}
	b, err := protojson.Marshal(s)
	if err != nil {
		return "" // it has nothing that cannot be written
	}
	var compact json.RawMessage = b
	b, _ = json.Marshal(compact) // protojson spaces its output at random; the same source is the same text
	return string(b)
}

func bare(r *committerv1.RepositoryRef) *committerv1.RepositoryRef {
	return &committerv1.RepositoryRef{Name: r.GetName(), Url: r.GetUrl(), Branch: r.GetBranch(), Credentials: r.GetCredentials()}
}

// older gives the desired state that the inventory tells of: what was applied last, where it stood then.
func (i *inventory) older(want *eventsv1.DesiredState) *eventsv1.DesiredState {
	d := proto.CloneOf(want)
	d.Tree, d.Commit, d.Generation, d.Deployment = i.tree, i.commit, i.generation, i.deployment
	d.Parts, d.MainTree = nil, ""
	s := &eventsv1.DesiredState{}
	if i.source != "" && (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(i.source), s) == nil && s.GetRepository().GetUrl() != "" {
		d.Repository, d.Path, d.Parts, d.MainTree = s.GetRepository(), s.GetPath(), s.GetParts(), s.GetMainTree()
	}
	return d
}
