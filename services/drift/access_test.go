package drift_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
)

// account is a service account of the shared cluster that may do everything.
type account struct {
	t    *testing.T
	ns   string
	name string
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{t: t, ns: devclustertest.Namespace(t), name: "drift"}
	a.create()
	bindings := client(t).RbacV1().ClusterRoleBindings()
	_, err := bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: a.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: a.ns, Name: a.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devclustertest.Kubectl(t, "delete", "clusterrolebinding", a.ns) })
	return a
}

func (a *account) create() {
	a.t.Helper()
	_, err := client(a.t).CoreV1().ServiceAccounts(a.ns).Create(a.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: a.name}}, metav1.CreateOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
}

// renew makes all earlier tokens invalid.
func (a *account) renew() {
	a.t.Helper()
	devclustertest.Kubectl(a.t, "-n", a.ns, "delete", "serviceaccount", a.name)
	a.create()
}

func (a *account) token() string {
	a.t.Helper()
	r, err := client(a.t).CoreV1().ServiceAccounts(a.ns).CreateToken(a.t.Context(), a.name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	return r.Status.Token
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		tmp := filepath.Join(dir, "."+name+".new")
		if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATokenThatIsRenewedCountsWithoutARestartAndAWrongOneSaysWhatToMend(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	dir := t.TempDir()
	cfg := devclustertest.Config(t)
	writeFiles(t, filepath.Join(dir, "prod"), map[string]string{"token": a.token(), "ca.crt": string(cfg.CAData)})
	w := newWorld(t, nil)
	w.stop()
	w.cfg.CredentialsDir = dir
	w.start()
	e := w.newEnv(t)
	e.ref = &eventsv1.TargetRef{Name: "targets/prod", Engine: "native", Server: cfg.Host, Credentials: "prod"}
	e.deploy(plainMap("settings", "LOG_LEVEL: info"))

	a.renew()
	eventually(t, func() string {
		st := e.status()
		if st.GetSync() != driftv1.SyncState_SYNC_STATE_UNSPECIFIED || !strings.Contains(st.GetMessage(), "renew the credentials prod") {
			return "the environment is " + st.String()
		}
		return ""
	})
	_, err := e.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE || !strings.Contains(err.Error(), "prod") {
		t.Errorf("sync without a valid token: %v", err)
	}
	writeFiles(t, filepath.Join(dir, "prod"), map[string]string{"token": a.token()})
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
			return "the environment is " + st.String()
		}
		return ""
	})
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap/settings", "foreign=x")
	e.awaitOne()
}

func TestCredentialsOfATargetThatCannotBeUsedSayWhatToMend(t *testing.T) {
	t.Parallel()
	const planted = "planted-secret-value"
	server := "https://127.0.0.1:1"
	kube := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: " + server + "}}]\nusers: [{name: u, user: {token: " + planted + "}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
	for name, c := range map[string]struct {
		files map[string]string
		ref   *eventsv1.TargetRef
		says  string
	}{
		"no such credentials":           {nil, &eventsv1.TargetRef{Server: server, Credentials: "absent"}, "are not among drift's own"},
		"a name that leads elsewhere":   {nil, &eventsv1.TargetRef{Server: server, Credentials: "../prod"}, "are not among drift's own"},
		"an empty folder":               {map[string]string{"note": planted}, &eventsv1.TargetRef{Server: server}, "hold nothing to log in with"},
		"a token and no server":         {map[string]string{"token": planted}, &eventsv1.TargetRef{}, "set its server"},
		"a token and a context":         {map[string]string{"token": planted}, &eventsv1.TargetRef{Server: server, Context: "x"}, "take the target's context away"},
		"a certificate without its key": {map[string]string{"tls.crt": planted}, &eventsv1.TargetRef{Server: server}, `"tls.key"`},
		"a certificate that is none":    {map[string]string{"tls.crt": planted, "tls.key": planted}, &eventsv1.TargetRef{Server: server}, "certificates and keys"},
		"an authority that is none":     {map[string]string{"token": planted, "ca.crt": planted}, &eventsv1.TargetRef{Server: server}, "certificates and keys"},
		"a kubeconfig and a token":      {map[string]string{"token": planted, "kubeconfig": kube}, &eventsv1.TargetRef{}, "keep one of the two"},
		"a kubeconfig and a server":     {map[string]string{"kubeconfig": kube}, &eventsv1.TargetRef{Server: server}, "take the target's server away"},
		"a kubeconfig that is none":     {map[string]string{"kubeconfig": "{" + planted}, &eventsv1.TargetRef{}, "cannot be read"},
		"a kubeconfig without context":  {map[string]string{"kubeconfig": kube}, &eventsv1.TargetRef{}, "names no cluster"},
		"an unknown context":            {map[string]string{"kubeconfig": kube}, &eventsv1.TargetRef{Context: "y"}, `without the context "y"`},
		"a part that is too large":      {map[string]string{"token": planted + strings.Repeat("x", 1<<20)}, &eventsv1.TargetRef{Server: server}, "1 MiB"},
		"nobody listens":                {map[string]string{"kubeconfig": kube}, &eventsv1.TargetRef{Context: "x"}, "cannot be reached"},
		"a server and no credentials":   {nil, &eventsv1.TargetRef{Server: server, Credentials: "-"}, "are not among drift's own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if c.files != nil {
				writeFiles(t, filepath.Join(dir, "prod"), c.files)
			}
			w := newWorld(t, nil)
			w.stop()
			w.cfg.CredentialsDir = dir
			w.start()
			e := w.envIn(t, "t-"+strings.ReplaceAll(name, " ", "-"))
			e.ref = c.ref
			e.ref.Name, e.ref.Engine = "targets/prod", "native"
			if e.ref.Credentials == "" {
				e.ref.Credentials = "prod"
			}
			e.want(plainMap("settings", "LOG_LEVEL: info"))
			eventually(t, func() string {
				st := e.status()
				if st.GetSync() != driftv1.SyncState_SYNC_STATE_UNSPECIFIED || st.GetHealth() != driftv1.Health_HEALTH_UNSPECIFIED ||
					!strings.Contains(st.GetMessage(), c.says) {
					return "the environment is " + st.String()
				}
				return ""
			})
			if st := e.status(); strings.Contains(st.String(), planted) {
				t.Errorf("the status holds the secret: %v", st)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, r := range e.seen {
				if strings.Contains(string(r.data), planted) {
					t.Errorf("an event holds the secret: %s", r.typ)
				}
			}
		})
	}
}

func plainMap(name, data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {" + data + "}\n"
}
