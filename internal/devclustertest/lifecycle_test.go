package devclustertest_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func TestAClusterOfOnesOwnKeepsObjectsAndAddressOverAKill(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	client := clientFor(t, c.Config(t)) // made once: address and certificates have to stay valid
	ns := c.Namespace(t)
	c.Kubectl(t, "-n", ns, "create", "configmap", "kept", "--from-literal=answer=42")

	c.Kill(t)
	if reachable(t, client) {
		t.Fatal("the API server still answers after a kill")
	}
	c.Start(t)
	cm, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("after a kill and a start: %v", err)
	}
	if cm.Data["answer"] != "42" {
		t.Errorf("after a kill and a start the object holds %v", cm.Data)
	}
	refusesASecond(t, c)

	c.Stop(t)
	if reachable(t, client) {
		t.Error("the API server still answers after a stop")
	}
}

// refusesASecond: two etcds on the same data would destroy it.
func refusesASecond(t *testing.T, c *devclustertest.Cluster) {
	t.Helper()
	out, err := exec.Command(devclusterBinary(t), "up", "--dir", c.Dir()).CombinedOutput()
	if err == nil {
		t.Fatal("a second devcluster started on the same folder")
	}
	if !strings.Contains(string(out), "is in use by a running devcluster") || !strings.Contains(string(out), "--dir") {
		t.Errorf("it said %q, want that the folder is in use and what to do", out)
	}
}

func TestBeingToldToStopWhileStartingIsAnOrderlyEndThatLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.Command(devclusterBinary(t), "up")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "etcd ready") {
	}
	// The API server's start hooks are about to run; interrupting those would end the process with a crash.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), "KUBECONFIG=") {
			t.Error("it announced a cluster after being told to stop")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheCommandLineRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "Usage:"},
		{"an unknown command", []string{"start"}, "the commands are up, kubectl and version"},
		{"an unknown flag", []string{"up", "--workers=3"}, "flag provided but not defined"},
		{"an argument", []string{"up", "now"}, `"now" is not a flag`},
		{"a port out of range", []string{"up", "--port=70000"}, "1 to 65535"},
		{"a negative number of nodes", []string{"up", "--nodes=-1"}, "choose 0 to 1000"},
		{"a stages file that is not there", []string{"up", "--stages=none.yaml"}, "--stages: open none.yaml"},
		{"a folder that is a file", []string{"up", "--dir=" + os.Args[0]}, "choose a folder you can write to with --dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(devclusterBinary(t), c.args...).CombinedOutput()
			if err == nil {
				t.Fatalf("it succeeded and said %q", out)
			}
			if !strings.Contains(string(out), c.want) {
				t.Errorf("it said %q, want %q in it", out, c.want)
			}
		})
	}
}

// devclusterBinary is the program itself, for tests of its command line.
func devclusterBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("DEVCLUSTER"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../bin/devcluster")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatal("bin/devcluster is missing: run make bin/devcluster")
	}
	return path
}
