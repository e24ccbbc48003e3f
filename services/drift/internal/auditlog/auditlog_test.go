package auditlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/drift/internal/auditlog"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// write is a patch of ConfigMap a by a person.
func write(user, manager string, after time.Duration) auditlog.Event {
	return auditlog.Event{
		Began: noon.Add(after), Ended: noon.Add(after + 100*time.Millisecond), Verb: "patch", User: user, UserAgent: "kubectl", Manager: manager,
		Resource: "configmaps", Namespace: "ns", Name: "a",
	}
}

func TestAnEventFitsByObjectManagerSubresourceAndTime(t *testing.T) {
	deletion := func(e auditlog.Event) auditlog.Event { e.Verb = "delete"; return e }
	of := func(e auditlog.Event, resource, namespace, name string) auditlog.Event {
		e.Resource, e.Namespace, e.Name = resource, namespace, name
		return e
	}
	edit := auditlog.Question{Resource: "configmaps", Namespace: "ns", Name: "a", Manager: "kubectl-edit", Operation: "Update", At: noon}
	removal := auditlog.Question{Resource: "configmaps", Namespace: "ns", Name: "a", Earliest: noon, Latest: noon.Add(time.Minute)}
	gone := removal
	gone.Deletion = true
	version := edit
	version.Version = "7"
	exact := write("bob", "kubectl-edit", 0)
	exact.Version = "7"
	scale := write("alice", "kubectl-edit", 0)
	scale.Subresource = "scale"
	collection := deletion(of(write("alice", "kubectl", time.Second), "configmaps", "ns", ""))
	collection.Verb = "deletecollection"
	tests := []struct {
		name   string
		events []auditlog.Event
		asked  auditlog.Question
		who    []string
	}{
		{"an edit in that second", []auditlog.Event{write("alice", "kubectl-edit", 300*time.Millisecond)}, edit, []string{"alice"}},
		{"an edit by another manager", []auditlog.Event{write("alice", "helm", 0)}, edit, nil},
		{"an edit a minute later", []auditlog.Event{write("alice", "kubectl-edit", time.Minute)}, edit, nil},
		{"an edit through a subresource", []auditlog.Event{scale}, edit, nil},
		{"an edit of another object", []auditlog.Event{of(write("alice", "kubectl-edit", 0), "configmaps", "ns", "b")}, edit, nil},
		{"two persons in one second", []auditlog.Event{write("alice", "kubectl-edit", 0), write("bob", "kubectl-edit", 1)}, edit, []string{"bob", "alice"}},
		{"two persons, one of whom made that version", []auditlog.Event{write("alice", "kubectl-edit", 0), exact}, version, []string{"bob"}},
		{"a removal by any manager in the window", []auditlog.Event{write("alice", "helm", 30*time.Second)}, removal, []string{"alice"}},
		{"a write before the window", []auditlog.Event{write("alice", "helm", -time.Minute)}, removal, nil},
		{"a deletion", []auditlog.Event{deletion(write("alice", "kubectl", time.Second))}, gone, []string{"alice"}},
		{"a deletion of several", []auditlog.Event{collection}, gone, []string{"alice"}},
		{"a deletion of the namespace", []auditlog.Event{deletion(of(write("alice", "kubectl", time.Second), "namespaces", "ns", "ns"))}, gone, []string{"alice"}},
		{"an edit is no deletion", []auditlog.Event{write("alice", "kubectl", time.Second)}, gone, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := auditlog.New()
			for _, e := range tt.events {
				l.Add(e)
			}
			var who []string
			for _, e := range l.Who(tt.asked) {
				who = append(who, e.User)
			}
			if diff := cmp.Diff(tt.who, who); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyTheLastWritesOfSomeMinutesAreRemembered(t *testing.T) {
	l := auditlog.New()
	ask := func(n int) int {
		return len(l.Who(auditlog.Question{Resource: "configmaps", Namespace: "ns", Name: fmt.Sprint(n)}))
	}
	for n := range 3 * auditlog.Kept {
		e := write("alice", "kubectl", time.Duration(n)*time.Millisecond)
		e.Name = fmt.Sprint(n)
		l.Add(e)
	}
	if ask(0) != 0 || ask(2*auditlog.Kept-1) != 0 || ask(2*auditlog.Kept) != 1 || ask(3*auditlog.Kept-1) != 1 {
		t.Errorf("remembered are %d %d %d %d", ask(0), ask(2*auditlog.Kept-1), ask(2*auditlog.Kept), ask(3*auditlog.Kept-1))
	}
	late := write("bob", "kubectl", 2*auditlog.Minutes)
	late.Name = "late"
	l.Add(late)
	if ask(3*auditlog.Kept-1) != 0 {
		t.Error("a write is remembered for too long")
	}
}

const line = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":%q,"requestURI":"/api/v1/namespaces/ns/secrets/s?fieldManager=kubectl-edit%s","verb":%q,
"user":{"username":"admin"},"impersonatedUser":{"username":"alice"},"userAgent":"kubectl/v1","objectRef":{"resource":"secrets","namespace":"ns","name":"s"},
"responseStatus":{"code":%d},"requestObject":{"data":{"p":"planted"}},"responseObject":{"metadata":{"resourceVersion":"7"},"data":{"p":"planted"}},
"requestReceivedTimestamp":"2026-01-02T12:00:00.000001Z","stageTimestamp":"2026-01-02T12:00:01.000001Z"}`

func TestOfAnEventOnlyWhoWhatAndWhenIsKept(t *testing.T) {
	got, ok := auditlog.Line(fmt.Appendf(nil, line, "ResponseComplete", "", "update", 200))
	want := auditlog.Event{
		Began: noon.Add(time.Microsecond), Ended: noon.Add(time.Second + time.Microsecond), Verb: "update", User: "alice", By: "admin", UserAgent: "kubectl/v1",
		Manager: "kubectl-edit", Resource: "secrets", Namespace: "ns", Name: "s", Version: "7",
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v %s", ok, diff)
	}
	for name, other := range map[string]string{
		"a question":        fmt.Sprintf(line, "ResponseComplete", "", "get", 200),
		"a refusal":         fmt.Sprintf(line, "ResponseComplete", "", "update", 403),
		"a dry run":         fmt.Sprintf(line, "ResponseComplete", "&dryRun=All", "update", 200),
		"not yet its end":   fmt.Sprintf(line, "RequestReceived", "", "update", 200),
		"half a line":       fmt.Sprintf(line, "ResponseComplete", "", "update", 200)[:90],
		"of another format": "2026-01-02 audit",
	} {
		if _, ok := auditlog.Line([]byte(other)); ok {
			t.Errorf("%s is taken for a change", name)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add(`{"kind":"EventList","items":[` + fmt.Sprintf(line, "ResponseComplete", "", "update", 200) + `]}`)
	f.Add(`{"items":null}`)
	f.Add(`{"items":[[]]}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, body string) {
		l := auditlog.New()
		_ = auditlog.List(strings.NewReader(body), func(e auditlog.Event) {
			if e.Verb == "" || len(e.User) > 300 || len(e.UserAgent) > 300 || len(e.Manager) > 300 {
				t.Errorf("kept %+v", e)
			}
			l.Add(e)
		})
	})
}
