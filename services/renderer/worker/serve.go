package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/helm"
	"github.com/towpath-dev/towpath/services/renderer/kustomize"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Command is the argument with which the program becomes a worker. It is not for people.
const Command = "render-worker"

// engines are what a worker has.
var engines = definition.Engines{Helm: helm.Engine{}, Kustomize: kustomize.Engine{}}

// A worker is the same program, and so every program that links this package must be able to be one: server, `towpathd render`, and
// the tests of either. It is decided here, before main and before anything of the rest of the program is made.
func init() {
	if len(os.Args) == 3 && os.Args[1] == Command {
		os.Exit(serve(os.Args[2], os.Stdin, os.Stdout))
	}
}

// serve answers calls until the parent goes away.
func serve(arg string, in io.Reader, out io.Writer) int {
	var limits Limits
	if err := json.Unmarshal([]byte(arg), &limits); err != nil {
		return 2
	}
	runtime.GOMAXPROCS(2) // one works, one collects garbage and keeps the time
	debug.SetMemoryLimit(limits.Memory / 4 * 3)
	debug.SetMaxStack(maxStack)
	ready := confine(limits)
	w := bufio.NewWriterSize(out, 64<<10)
	r := bufio.NewReaderSize(in, 64<<10)
	s := &server{limits: limits}
	if writeFrame(w, ready) != nil || w.Flush() != nil {
		return 1
	}
	for {
		var c call
		if err := readFrame(r, &c); err != nil {
			if errors.Is(err, io.EOF) {
				return 0
			}
			return 1
		}
		// The parent ends a worker that takes too long. This is for one whose parent is gone.
		orphan := time.AfterFunc(limits.Time+5*time.Second, func() { os.Exit(3) })
		a := s.answer(&c)
		orphan.Stop()
		if writeFrame(w, a) != nil || w.Flush() != nil {
			return 1
		}
	}
}

// maxStack ends recursion long before the memory is full.
const maxStack = 64 << 20

// server is what a worker knows from call to call.
type server struct {
	limits      Limits
	definitions map[string]*definition.Definition
	scene       *scene
	services    map[string]any
}

// answer does what is asked. A panic is an error of the definition: nothing of the outcome is used.
func (s *server) answer(c *call) (a *answer) {
	defer func() {
		if p := recover(); p != nil {
			a = &answer{Error: problemOf(errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "rendering it failed: %.500v", p))}
		}
	}()
	if c.Scene != nil {
		s.scene, s.services = c.Scene, c.Scene.services()
	}
	if s.scene == nil {
		s.scene = &scene{}
	}
	d, err := s.definition(c)
	if err != nil {
		return &answer{Error: problemOf(err)}
	}
	if c.Check {
		return s.check(c, d)
	}
	req, err := c.restore(s.scene, s.services)
	if err != nil {
		return &answer{Error: problemOf(err)}
	}
	result, err := d.MakeWith(engines, req)
	if err == nil {
		a, err = answerOf(result)
	}
	if err != nil {
		return &answer{Error: problemOf(err)}
	}
	return a
}

// definition gives the definition of a call, compiling it when it is new.
func (s *server) definition(c *call) (*definition.Definition, error) {
	if c.Reset || s.definitions == nil {
		s.definitions = map[string]*definition.Definition{}
	}
	if d := s.definitions[string(c.Key)]; d != nil {
		return d, nil
	}
	spec := &rendererv1.ResourceDefinition{}
	if err := proto.Unmarshal(c.Spec, spec); err != nil {
		return nil, fmt.Errorf("decode a definition: %w", err)
	}
	d, err := definition.Compile(spec)
	if err != nil {
		return nil, err
	}
	s.definitions[string(c.Key)] = d
	return d, nil
}

// check looks at a definition and makes a resource of it on trial. Whether that works says little, because nobody knows yet what
// params there will be; but one that runs without end does so now, and not in everybody's deployments.
func (s *server) check(c *call, d *definition.Definition) *answer {
	if err := d.Check(engines); err != nil {
		return &answer{Error: problemOf(err)}
	}
	req, err := c.restore(&scene{}, map[string]any{})
	if err != nil {
		return &answer{Error: problemOf(err)}
	}
	req.Output = func(r definition.Reference) (any, error) { return r.Path[len(r.Path)-1], nil }
	if _, err := d.MakeWith(engines, req); err != nil {
		return &answer{Warnings: []string{err.Error()}}
	}
	return &answer{}
}
