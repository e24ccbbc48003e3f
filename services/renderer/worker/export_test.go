package worker

import (
	"encoding/json"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// Pids gives the processes of the workers that run.
func (p *Pool) Pids() (out []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.live {
		out = append(out, w.pid())
	}
	return out
}

// Travel gives what a worker gets of a request.
func Travel(req *definition.Request) (*definition.Request, error) {
	in, err := requestOf(req)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(call{Request: in, Scene: sceneOf(req)})
	if err != nil {
		return nil, err
	}
	var c call
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	return c.restore(c.Scene, c.Scene.services())
}

// TravelBack gives a result as it comes out of a worker.
func TravelBack(r definition.Result) (definition.Result, error) {
	a, err := answerOf(r)
	if err != nil {
		return r, err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return r, err
	}
	var back answer
	if err := json.Unmarshal(text, &back); err != nil {
		return r, err
	}
	return back.result()
}
