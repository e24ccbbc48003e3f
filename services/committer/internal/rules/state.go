package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Folder is Towpath's own folder in a deployment repository; no environment may live in it.
const Folder = ".towpath"

// StateRoot is the folder of the state files.
const StateRoot = Folder + "/state"

// stateVersion is the form of a state file that this code writes. A file of a later form is refused, because writing the
// older one over it could lose what a newer Towpath relies on.
const stateVersion = 1

// State is what a deployment leaves beside the bundle, in the same commit: the environment's last outcome. The fence and the
// search for a lost answer read it at the tip and never the history, which is shallow and may be squashed. Its JSON form is
// stable: fields are added, never renamed.
type State struct {
	// Version is the form of the file.
	Version int `json:"version"`
	// Deployment is the resource name of the deployment.
	Deployment string `json:"deployment"`
	// Generation is the environment's generation that it made.
	Generation int64 `json:"generation"`
	// RequestID is the idempotency key of the deployment.
	RequestID string `json:"request_id"`
	// RequestTime is when it was asked; it tells a new life of a removed environment from an old command.
	RequestTime time.Time `json:"request_time"`
	// Set is the set's name.
	Set string `json:"set,omitempty"`
	// Path is the environment's folder.
	Path string `json:"path"`
	// Tree is the tree id at Path; empty when the environment was removed.
	Tree string `json:"tree"`
	// SHA256 is the bundle's digest; empty when it was not rendered for this deployment.
	SHA256 string `json:"sha256,omitempty"`
	// RendererVersion is the version that rendered it; empty when nothing was.
	RendererVersion string `json:"renderer_version,omitempty"`
	// FilesChanged is the number of files that the commit added, changed or removed below Path.
	FilesChanged int32 `json:"files_changed"`
	// Unchanged tells that the tree at Path was the same before.
	Unchanged bool `json:"unchanged,omitempty"`
	// Removed tells that the deployment removed the environment.
	Removed bool `json:"removed,omitempty"`
	// Claims tells that the commit brought the claims of the deployment beside what stood there. The deployment's own commit, of
	// the same generation, is to follow.
	Claims bool `json:"claims,omitempty"`
	// Part is the part of the environment that stands at Path; empty for its main place, which has a state file of its own.
	Part string `json:"part,omitempty"`
	// Whole names the rendering that the deployment brought to all places, where the environment is split: the tree id of all files
	// together. Places of one deployment that differ in it were rendered by different versions and are brought together.
	Whole string `json:"whole,omitempty"`
	// Parts tells where the rest of a split environment stands; in the main place's file only.
	Parts []PartState `json:"parts,omitempty"`
	// MovedTo tells where an environment that left the branch went. It is removed here, and the file fences off late commands.
	MovedTo string `json:"moved_to,omitempty"`
	// Allowed is the foreign tree at Path that somebody decided may be written over, Absent for a removed folder; empty otherwise.
	Allowed string `json:"allowed,omitempty"`
	// Decided is the request id of the last decision about a foreign change, so that none is carried out twice.
	Decided string `json:"decided,omitempty"`
	// Overwrote is the foreign tree that the deployment replaced, Absent for a removed folder; empty when there was none.
	Overwrote string `json:"overwrote,omitempty"`
}

// ErrNewerState means that a newer Towpath wrote the state file: nobody damaged it, and nothing may be written over it.
var ErrNewerState = errors.New("the state file is of a newer Towpath")

// EncodeState gives the bytes of a state file: the same state always gives the same bytes.
func EncodeState(s State) []byte {
	s.Version = stateVersion
	s.RequestTime = s.RequestTime.UTC()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	// Encoding a struct of strings and numbers cannot fail.
	_ = enc.Encode(s)
	return b.Bytes()
}

// DecodeState reads a state file. A file that is none, because somebody edited it by hand, is an error: guessing a generation
// could undo a newer deployment.
func DecodeState(data []byte) (State, error) {
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("the state file is not readable: %w", err)
	}
	if s.Version > stateVersion {
		return State{}, fmt.Errorf("%w: it has version %d and this Towpath reads up to %d", ErrNewerState, s.Version, stateVersion)
	}
	if s.Version < 1 {
		return State{}, errors.New("the state file names no version")
	}
	if s.Deployment == "" {
		return State{}, fmt.Errorf("the state file names no deployment")
	}
	return s, nil
}

// Deployment is a deployment's resource name taken apart.
type Deployment struct {
	// Application, Environment and Number are the ids in the name.
	Application, Environment, Number string
	// Part is the id of the part that this is about; empty for the environment's main place.
	Part string
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$`)

// ParseDeployment takes applications/{app}/environments/{env}/deployments/{n} apart. The ids become file names and parts of
// message subjects, so nothing but letters, digits, hyphens and underscores is let through.
func ParseDeployment(name string) (Deployment, error) {
	parts := strings.Split(name, "/")
	if len(parts) != 6 || parts[0] != "applications" || parts[2] != "environments" || parts[4] != "deployments" {
		return Deployment{}, errs.InvalidField("deployment",
			"is not of the form applications/{app}/environments/{env}/deployments/{n}")
	}
	for _, id := range []string{parts[1], parts[3], parts[5]} {
		if !idPattern.MatchString(id) {
			return Deployment{}, errs.InvalidField("deployment",
				"has an id that is not 1 to 63 letters, digits, hyphens or underscores")
		}
	}
	return Deployment{Application: parts[1], Environment: parts[3], Number: parts[5]}, nil
}

// EnvironmentName is the environment's resource name.
func (d Deployment) EnvironmentName() string {
	return "applications/" + d.Application + "/environments/" + d.Environment
}

// StatePath is where the environment's state file is. The two hexadecimal digits keep folders small: a repository of
// thousands of environments would pay for one large folder with every commit. A part's file stands beside the main place's.
func (d Deployment) StatePath() string {
	sum := sha256.Sum256([]byte(d.Application + "/" + d.Environment))
	file := StateRoot + "/" + hex.EncodeToString(sum[:1]) + "/" + d.Application + "/" + d.Environment
	if d.Part != "" {
		file += "@" + d.Part
	}
	return file
}
