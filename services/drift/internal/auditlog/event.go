// Package auditlog reads what a Kubernetes API server's audit log says and finds in it who made a change.
//
// Of an event only who, what and when are kept; the objects that it may hold are dropped while it is read, so no value of a Secret
// gets into memory that outlives the reading. It is pure but for its mutex: time comes in with events and questions.
package auditlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// Event is one write as the audit log has it.
type Event struct {
	// Began and Ended are when the request came and was answered, by the API server's clock.
	Began, Ended time.Time
	Verb         string
	// User is who the change is by; By is who asked, when they acted as somebody else.
	User, By  string
	UserAgent string
	// Manager is the field manager that the API server gives the write.
	Manager string
	// The object. Name is empty for a deletion of several.
	Group, Resource, Namespace, Name, Subresource string
	UID                                           string
	// Version is the resourceVersion that the write made, where the log tells: at level RequestResponse.
	Version string
}

// wire is the part of audit.k8s.io/v1 Event that is read.
type wire struct {
	Stage            string      `json:"stage"`
	RequestURI       string      `json:"requestURI"`
	Verb             string      `json:"verb"`
	User             wireUser    `json:"user"`
	ImpersonatedUser *wireUser   `json:"impersonatedUser"`
	UserAgent        string      `json:"userAgent"`
	ObjectRef        *wireObject `json:"objectRef"`
	ResponseStatus   *struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	ResponseObject *struct {
		Metadata struct {
			UID             string `json:"uid"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	} `json:"responseObject"`
	Received time.Time `json:"requestReceivedTimestamp"`
	Staged   time.Time `json:"stageTimestamp"`
}

type wireUser struct {
	Username string `json:"username"`
}

type wireObject struct {
	Resource    string `json:"resource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	UID         string `json:"uid"`
	APIGroup    string `json:"apiGroup"`
	Subresource string `json:"subresource"`
}

// maxText bounds what a client can make us keep: user agents and names are its own words.
const maxText = 256

// maxManager is how long the API server lets a field manager's name be.
const maxManager = 128

// event keeps what matters; false for what changed nothing: questions, refusals, dry runs, and what is told before its end.
func (w *wire) event() (Event, bool) {
	if w.Stage != "ResponseComplete" || w.ObjectRef == nil || w.ResponseStatus == nil || w.ResponseStatus.Code/100 != 2 {
		return Event{}, false
	}
	switch w.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
	default:
		return Event{}, false
	}
	e := Event{
		Began: w.Received, Ended: w.Staged, Verb: w.Verb, User: clip(w.User.Username), UserAgent: clip(w.UserAgent),
		Group: w.ObjectRef.APIGroup, Resource: w.ObjectRef.Resource, Namespace: w.ObjectRef.Namespace, Name: w.ObjectRef.Name,
		Subresource: w.ObjectRef.Subresource, UID: w.ObjectRef.UID,
	}
	if w.ImpersonatedUser != nil && w.ImpersonatedUser.Username != "" {
		e.By, e.User = e.User, clip(w.ImpersonatedUser.Username)
	}
	if w.ResponseObject != nil && w.Verb != "delete" && w.Verb != "deletecollection" {
		e.Version = clip(w.ResponseObject.Metadata.ResourceVersion)
	}
	var asked url.Values
	if u, err := url.Parse(w.RequestURI); err == nil {
		asked = u.Query()
	}
	if asked.Get("dryRun") != "" {
		return Event{}, false
	}
	if e.Manager = asked.Get("fieldManager"); e.Manager == "" {
		e.Manager, _, _ = strings.Cut(w.UserAgent, "/") // so does the API server
	}
	if len(e.Manager) > maxManager {
		e.Manager = e.Manager[:maxManager]
	}
	return e, true
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Clone(s) // not the whole buffer that it was read from
}

// Line reads one line of an audit log in the format json; false when it tells of no change or is none.
func Line(line []byte) (Event, bool) {
	var w wire
	if json.Unmarshal(line, &w) != nil {
		return Event{}, false
	}
	return w.event()
}

// List reads an EventList as the webhook backend sends it, event by event, so that a large one is never in memory as a whole.
func List(r io.Reader, each func(Event)) error {
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("is no JSON object; send an EventList of audit.k8s.io/v1"), err)
	}
	found := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("is no EventList: %w", err)
		}
		if name != "items" {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return fmt.Errorf("is no EventList: %w", err)
			}
			if name == "kind" && string(skip) != `"EventList"` {
				return errors.New("is of another kind; send an EventList of audit.k8s.io/v1")
			}
			continue
		}
		found = true
		if err := items(dec, each); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("has no items; send an EventList of audit.k8s.io/v1")
	}
	return nil
}

func items(dec *json.Decoder, each func(Event)) error {
	t, err := dec.Token()
	if err != nil || t == nil {
		return err // items: null
	}
	if t != json.Delim('[') {
		return errors.New("has items that are no list")
	}
	for dec.More() {
		var w wire
		if err := dec.Decode(&w); err != nil {
			return fmt.Errorf("has an event that cannot be read: %w", err)
		}
		if e, ok := w.event(); ok {
			each(e)
		}
	}
	_, err = dec.Token()
	return err
}
