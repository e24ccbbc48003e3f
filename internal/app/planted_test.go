package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// plantings is how many secrets are put where people put them by mistake.
const plantings = 120

// planting is one system in which secrets are planted by design and by mistake.
type planting struct {
	*apptest.Client
	t       *testing.T
	rng     *rand.Rand
	search  *searcher
	cluster *devclustertest.Cluster
	env, ns string
	defs    catalogv1.DefinitionServiceClient
	vars    catalogv1.VariableServiceClient
	drafts  catalogv1.DraftServiceClient
	// accepted counts, by way, mistakes that were not refused.
	accepted map[string]int
}

// No value of a secret leaves the cluster: not one that a workload uses by design, and not one that somebody writes where it does
// not belong. What was planted is then looked for in every object of Git, every stored byte of the catalog and the event server,
// every event, log line, error and answer. TOWPATH_PLANTED_SEED plants others.
func TestPlantedSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	seed := uint64(20260)
	if s := os.Getenv("TOWPATH_PLANTED_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	p := &planting{t: t, rng: rand.New(rand.NewPCG(seed, 7)), search: &searcher{}, cluster: devclustertest.Shared(t), ns: "planted-dev", accepted: map[string]int{}}
	s := apptest.Start(t, apptest.WithCluster(p.cluster), func(c *app.Config) {
		c.Log = slog.New(slog.NewTextHandler(p.search, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	p.Client = s.Client
	conn, err := apptest.DialAs(s.GRPC, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	p.defs, p.vars, p.drafts = catalogv1.NewDefinitionServiceClient(conn), catalogv1.NewVariableServiceClient(conn), catalogv1.NewDraftServiceClient(conn)
	stored, plain := s.Subscribe(t, "towpath.evt.>"), s.Subscribe(t, "towpath.json.>")
	p.byDesign()
	p.byMistake()
	p.answers()
	s.Stop(t)
	heard := append(stored.All(), plain.All()...)
	if len(heard) < 10 {
		t.Errorf("only %d events were heard", len(heard))
	}
	for _, m := range heard {
		p.search.look("event "+m.Subject, append([]byte(fmt.Sprint(m.Header)), m.Data...))
	}
	p.search.lookInFolder(t, s.DataDir)
	p.gitObjects(s.DataDir)
	for i, f := range p.search.found {
		if i == 20 {
			t.Errorf("and %d more", len(p.search.found)-i)
			break
		}
		t.Error(f)
	}
	for way, n := range p.accepted {
		t.Errorf("%s: accepted %d times", way, n)
	}
	if p.search.seen < 1<<20 || len(p.search.forms) < 8*plantings {
		t.Errorf("only %d bytes were searched for %d forms", p.search.seen, len(p.search.forms))
	}
}

// gitObjects searches all objects of the repository, those that nothing refers to included.
func (p *planting) gitObjects(dataDir string) {
	p.t.Helper()
	dir := filepath.Join(dataDir, "repositories", "deployments.git")
	out := gittest.Git(p.t, dir, "cat-file", "--batch-all-objects", "--batch", "--unordered")
	if !strings.Contains(out, "kind: Deployment") {
		p.t.Error("the objects of Git hold no manifest: nothing was searched")
	}
	p.search.look("an object of Git", []byte(out))
}

// random gives a text of letters and digits, or of all that needs escaping too.
func (p *planting) random(n int, alphabet string) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[p.rng.IntN(len(alphabet))]
	}
	return string(out)
}

const (
	letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
	uppers  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	special = letters + `"'<>&%/+ \;,`
)

const plantedScore = `
apiVersion: score.dev/v1b1
metadata: {name: api}
containers:
  main:
    image: registry.example.com/api:1
    variables:
      DB_PASSWORD: ${resources.db.password}
      DB_URL: postgres://app:${resources.db.password}@${resources.db.host}/app
      PAY_KEY: ${resources.env.PAY_KEY}
      LEVEL: %q
    files:
      /etc/api/api.ini: {content: "db=${resources.db.password}\nkey=${resources.env.PAY_KEY}\n"}
      /etc/api/key: {content: "${resources.env.PAY_KEY}"}
resources:
  db: {type: postgres}
  env: {type: environment}
`

// byDesign uses secrets as they are meant to be used: generated ones, one that is there, files made of both; then changes them in
// the cluster, syncs, reverts, rolls back and fails.
func (p *planting) byDesign() {
	t := p.t
	t.Helper()
	kubectl := func(args ...string) string {
		t.Helper()
		return p.cluster.Kubectl(t, append([]string{"-n", p.ns}, args...)...)
	}
	p.env = p.NewEnvironment(t, "planted/dev")
	existing := "payKey" + p.random(24, letters)
	p.search.plant("a Secret that is there", existing)
	p.cluster.Kubectl(t, "create", "namespace", p.ns)
	kubectl("create", "secret", "generic", "payments", "--from-literal=api.key="+existing)
	change := apptest.Scores(fmt.Sprintf(plantedScore, "one"))
	change.SecretVariables = map[string]*rendererv1.SecretReference{"PAY_KEY": {Name: "payments", Key: "api.key"}}
	first := p.WaitState(t, p.Deploy(t, p.env, "", change).GetName(), apptest.Healthy)
	p.plantCluster()

	renewed := "renewed" + p.random(24, letters)
	p.search.plant("a generated password that was renewed", renewed)
	kubectl("patch", "secret", "postgres-api-db", "-p", `{"stringData":{"password":"`+renewed+`"}}`)
	edited := "edited" + p.random(24, letters)
	p.search.plant("a value that somebody put into a Secret", edited)
	kubectl("patch", "secret", "postgres-api-db", "-p", `{"stringData":{"extra":"`+edited+`"}}`)
	apptest.Await(t, "the added key is found", func() bool {
		return len(apptest.Call(t, p.Drift.ListFindings, &driftv1.ListFindingsRequest{Parent: p.env}).GetFindings()) > 0
	})
	p.look("findings", apptest.Call(t, p.Drift.ListFindings, &driftv1.ListFindingsRequest{Parent: p.env}))
	apptest.Call(t, p.Drift.SyncEnvironment, &driftv1.SyncEnvironmentRequest{Name: p.env})
	p.plantCluster()
	second := p.WaitState(t, p.DeployScore(t, p.env, fmt.Sprintf(plantedScore, "two")).GetName(), apptest.Healthy)
	p.WaitState(t, apptest.Call(t, p.Catalog.Rollback, &catalogv1.RollbackRequest{Name: p.env, Deployment: first.GetName()}).GetName(), apptest.Healthy)
	p.look("the second deployment", second)
	p.plantCluster()
	// One that fails at the cluster, whose own words are passed on.
	kubectl("delete", "secret", "payments")
	waits := p.DeployScore(t, p.env, strings.ReplaceAll(fmt.Sprintf(plantedScore, "three"), "key=$", "KEY=$"))
	p.WaitWaiting(t, waits.GetName())
	kubectl("create", "secret", "generic", "payments", "--from-literal=api.key="+existing)
	p.WaitState(t, waits.GetName(), apptest.Healthy)
	p.plantCluster()
}

// plantCluster plants the values of all Secrets that are in the cluster now.
func (p *planting) plantCluster() {
	p.t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(p.cluster.Kubectl(p.t, "-n", p.ns, "get", "secrets", "-o", "json")), &list); err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, s := range list.Items {
		for key, v := range s.Data {
			value, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				p.t.Fatal(err)
			}
			p.search.plant("key "+key+" of Secret "+s.Metadata.Name, string(value))
			n++
		}
	}
	if n < 3 {
		p.t.Errorf("%d values in the cluster, want a generated, a given one and a file of both", n)
	}
}

// look searches a message, as it is and as JSON.
func (p *planting) look(what string, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.search.look(what, b)
	p.search.look(what, []byte(protojson.Format(m)))
}

// credential gives a value that is a secret by its form, and the part of it that is searched for.
func (p *planting) credential() (value, needle string) {
	switch p.rng.IntN(6) {
	case 0:
		needle = p.random(36, letters)
		return "ghp_" + needle, needle
	case 1:
		needle = p.random(16, uppers)
		return "AKIA" + needle, needle
	case 2:
		needle = p.random(24, letters)
		return "glpat-" + needle, needle
	case 3:
		needle = p.random(64, letters)
		return "-----BEGIN RSA PRIVATE KEY-----\n" + needle + "\n-----END RSA PRIVATE KEY-----\n", needle
	case 4:
		needle = p.random(20, letters)
		return "postgres://app:" + needle + "@db.example.com/app", needle
	default:
		needle = p.random(40, letters)
		return "tow_" + needle, needle
	}
}

// password gives a value that only its name tells to be one.
func (p *planting) password() string { return "pw" + p.random(18, special) }

// mistake is a way in which a secret gets where it does not belong. It gives the error of the call.
type mistake struct {
	way string
	// named is a secret by its name, else by its form.
	named bool
	make  func(ctx context.Context, value string) error
}

func (p *planting) byMistake() {
	p.t.Helper()
	ways := p.mistakes()
	for i := range plantings {
		m := ways[i%len(ways)]
		value, needle := p.credential()
		if m.named {
			value = p.password()
			needle = value
		}
		p.search.plant(m.way, needle)
		err := m.make(p.t.Context(), value)
		if err == nil {
			p.accepted[m.way]++
			continue
		}
		st := status.Convert(err).Proto()
		p.look("the error of: "+m.way, st)
		for _, d := range st.GetDetails() {
			p.search.look("the error of: "+m.way, d.GetValue())
		}
	}
}

// answers asks for whatever can be asked for.
func (p *planting) answers() {
	p.t.Helper()
	for _, path := range []string{
		"/v1/applications", "/v1/" + p.env, "/v1/" + p.env + "/deployments?page_size=100", "/v1/" + p.env + "/variables", "/v1/applications/planted/variables",
		"/v1/applications/planted/drafts", "/v1/resourceDefinitions", "/v1/resourceDefinitions/-/versions", "/v1/auditEvents?page_size=1000", "/v1/tokens", "/v1/repositories",
		"/v1/" + p.env + "/findings", "/v1/" + p.env + "/status", "/v1/environmentTypes", "/portal/", "/",
	} {
		code, body := p.REST(p.t, "GET", path, "")
		p.search.look(fmt.Sprintf("GET %s (%d)", path, code), []byte(body))
	}
	for _, d := range p.History(p.t, p.env) {
		p.look(d.GetName(), d)
	}
	plan := apptest.Call(p.t, p.Catalog.PlanDeployment, &catalogv1.PlanDeploymentRequest{Parent: p.env, Change: apptest.Scores(fmt.Sprintf(plantedScore, "planned"))})
	p.look("a plan", plan)
	p.look("the status", apptest.Call(p.t, p.Drift.GetEnvironmentStatus, &driftv1.GetEnvironmentStatusRequest{Name: p.env + "/status"}))
}

func text(s string) *structpb.Value { return structpb.NewStringValue(s) }
