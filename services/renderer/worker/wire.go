package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Parent and worker are the same program, so that what goes between them needs no versions: a length in 4 bytes, then JSON. JSON
// changes no value on the way, because all values come from JSON or YAML.

// maxFrame is how large a message may be. A worker that announces more is not one that works.
const maxFrame = 64 << 20

// hello is what a worker says when it is ready: how it is confined.
type hello struct {
	// Syscalls says that the system calls for files, network and programs are refused.
	Syscalls bool
	// Limits says that the system limits its memory.
	Limits bool
	// Problem is why something of it could not be had.
	Problem string `json:",omitempty"`
}

// call is what a worker is asked: to make a resource, or with Check to look at a definition.
type call struct {
	Check bool
	// Key names the definition. Spec is its encoding, for a worker that does not have it; Reset lets it forget all others before.
	Key   []byte
	Spec  []byte `json:",omitempty"`
	Reset bool   `json:",omitempty"`
	// Scene is what all resources of one rendering see, for a worker that does not have it.
	Scene   *scene `json:",omitempty"`
	Request request
	// Outputs are what the definition's references mean, by their text.
	Outputs map[string]output `json:",omitempty"`
}

// scene is what all resources of one rendering see. It can be large.
type scene struct {
	WorkloadServices map[string]service
	Variables        map[string]string
	Workloads        []string
}

type service struct {
	ServiceName string
	Ports       map[string]definition.Port
}

type output struct {
	Value any
	Error string `json:",omitempty"`
}

// request is a definition.Request without what is in the scene.
type request struct {
	Uid, Guid, Type, Class, Id, Name, SourceWorkload string
	Application, Environment, EnvironmentType        string
	Namespace, Instance, Domain                      string
	Params, Metadata, WorkloadMetadata               map[string]any
	Known                                            []byte                `json:",omitempty"`
	Rendering                                        *definition.Rendering `json:",omitempty"`
}

// answer is what a worker made, or why it could not.
type answer struct {
	Outputs   map[string]any
	Manifests []map[string]any
	Claim     []byte `json:",omitempty"`
	Missing   bool
	Warnings  []string `json:",omitempty"`
	// Repeatable and Rendering are those of the result.
	Repeatable bool                  `json:",omitempty"`
	Rendering  *definition.Rendering `json:",omitempty"`
	Error      *problem              `json:",omitempty"`
}

// problem is an errs.Error without its cause, which is for the log of the process that it happened in.
type problem struct {
	Kind   errs.Kind
	Reason errs.Reason
	Msg    string
	Meta   map[string]string
	Fields []errs.Field
}

func problemOf(err error) *problem {
	var e *errs.Error
	if !errors.As(err, &e) {
		e = errs.New(errs.Internal, 0, "%s", err)
	}
	return &problem{Kind: e.Kind, Reason: e.Reason, Msg: e.Msg, Meta: e.Meta, Fields: e.Fields}
}

func (p *problem) err() error {
	if p == nil {
		return nil
	}
	return &errs.Error{Kind: p.Kind, Reason: p.Reason, Msg: p.Msg, Meta: p.Meta, Fields: p.Fields}
}

func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes is too large", len(body))
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

func readFrame(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return fmt.Errorf("a message of %d bytes is announced", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func requestOf(req *definition.Request) (request, error) {
	out := request{
		Uid: req.Uid, Guid: req.Guid, Type: req.Type, Class: req.Class, Id: req.Id, Name: req.Name, SourceWorkload: req.SourceWorkload,
		Application: req.Application, Environment: req.Environment, EnvironmentType: req.EnvironmentType,
		Namespace: req.Namespace, Instance: req.Instance, Domain: req.Domain,
		Params: req.Params, Metadata: req.Metadata, WorkloadMetadata: req.WorkloadMetadata, Rendering: req.Rendering,
	}
	if req.Known == nil {
		return out, nil
	}
	var err error
	out.Known, err = proto.Marshal(req.Known)
	return out, err
}

// outputsOf asks for all that a definition may refer to. What cannot be given is only wrong where it is used.
func outputsOf(d *definition.Definition, req *definition.Request) map[string]output {
	if len(d.References) == 0 || req.Output == nil {
		return nil
	}
	out := make(map[string]output, len(d.References))
	for _, r := range d.References {
		if _, asked := out[r.Text]; asked {
			continue
		}
		v, err := req.Output(r)
		if err != nil {
			out[r.Text] = output{Error: err.Error()}
			continue
		}
		out[r.Text] = output{Value: v}
	}
	return out
}

func sceneOf(req *definition.Request) *scene {
	out := &scene{WorkloadServices: make(map[string]service, len(req.WorkloadServices)), Variables: req.Variables, Workloads: req.Workloads}
	for name, v := range req.WorkloadServices {
		s, _ := v.(definition.Service)
		one := service{ServiceName: s.ServiceName, Ports: make(map[string]definition.Port, len(s.Ports))}
		for port, p := range s.Ports {
			one.Ports[port], _ = p.(definition.Port)
		}
		out.WorkloadServices[name] = one
	}
	return out
}

// services are those of a scene as templates see them.
func (s *scene) services() map[string]any {
	out := make(map[string]any, len(s.WorkloadServices))
	for name, one := range s.WorkloadServices {
		ports := make(map[string]any, len(one.Ports))
		for port, p := range one.Ports {
			ports[port] = p
		}
		out[name] = definition.Service{ServiceName: one.ServiceName, Ports: ports}
	}
	return out
}

// restore makes the request that a definition gets.
func (c *call) restore(s *scene, services map[string]any) (*definition.Request, error) {
	in := c.Request
	req := &definition.Request{
		Uid: in.Uid, Guid: in.Guid, Type: in.Type, Class: in.Class, Id: in.Id, Name: in.Name, SourceWorkload: in.SourceWorkload,
		Application: in.Application, Environment: in.Environment, EnvironmentType: in.EnvironmentType,
		Namespace: in.Namespace, Instance: in.Instance, Domain: in.Domain,
		Params: in.Params, Metadata: in.Metadata, WorkloadMetadata: in.WorkloadMetadata,
		WorkloadServices: services, Variables: s.Variables, Workloads: s.Workloads, Rendering: in.Rendering,
		Output: func(r definition.Reference) (any, error) {
			o, ok := c.Outputs[r.Text]
			switch {
			case !ok:
				return nil, fmt.Errorf("%s is not known", r.Text)
			case o.Error != "":
				return nil, errors.New(o.Error)
			default:
				return o.Value, nil
			}
		},
	}
	if in.Known == nil {
		return req, nil
	}
	req.Known = &rendererv1.ResourceOutputs{}
	return req, proto.Unmarshal(in.Known, req.Known)
}

func answerOf(r definition.Result) (*answer, error) {
	out := &answer{Outputs: r.Outputs, Manifests: r.Manifests, Missing: r.Missing, Warnings: r.Warnings, Repeatable: r.Repeatable, Rendering: r.Rendering}
	if r.Claim == nil {
		return out, nil
	}
	var err error
	out.Claim, err = proto.Marshal(r.Claim)
	return out, err
}

func (a *answer) result() (definition.Result, error) {
	out := definition.Result{Outputs: a.Outputs, Manifests: a.Manifests, Missing: a.Missing, Warnings: a.Warnings, Repeatable: a.Repeatable, Rendering: a.Rendering}
	if a.Claim == nil {
		return out, nil
	}
	out.Claim = &rendererv1.ClaimRef{}
	return out, proto.Unmarshal(a.Claim, out.Claim)
}
