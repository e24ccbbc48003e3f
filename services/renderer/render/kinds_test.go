package render_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func annotated(t *testing.T, annotations string) *rendererv1.RenderInput {
	t.Helper()
	return newInput(t, "apiVersion: score.dev/v1b1\nmetadata: {name: app, annotations: {"+annotations+"}}\ncontainers: {main: {image: x}}")
}

func TestAnnotationsThatMakeNoSenseAreRefused(t *testing.T) {
	const (
		job  = "towpath.dev/kind: Job, "
		cron = "towpath.dev/kind: CronJob, towpath.dev/schedule: '@daily', "
	)
	for annotations, says := range map[string]string{
		"towpath.dev/kind: deployment":                                                `"deployment" is no kind of workload; did you mean "Deployment"?`,
		"towpath.dev/kind: ReplicaSet":                                                "there are Deployment, StatefulSet, DaemonSet, Job, CronJob",
		"towpath.dev/shedule: '@daily'":                                               `is no annotation that Towpath knows; did you mean "towpath.dev/schedule"?`,
		"towpath.dev/kind: DaemonSet, towpath.dev/replicas: '2'":                      "a DaemonSet runs one pod on every node and has no number of replicas: remove the annotation",
		job + "towpath.dev/replicas: '2'":                                             "a Job has no replicas: use towpath.dev/parallelism",
		cron + "towpath.dev/replicas: '2'":                                            "a CronJob has no replicas",
		"towpath.dev/schedule: '@daily'":                                              "a Deployment has no schedule: set towpath.dev/kind to CronJob",
		job + "towpath.dev/schedule: '@daily'":                                        "a Job has no schedule",
		"towpath.dev/kind: CronJob":                                                   "a CronJob needs a schedule: add the annotation towpath.dev/schedule",
		"towpath.dev/backoff-limit: '2'":                                              "is for a Job or CronJob, and the workload is a Deployment",
		job + "towpath.dev/time-zone: Etc/UTC":                                        "is for a CronJob, and the workload is a Job",
		cron + "towpath.dev/run: '2'":                                                 "is for a Job, and the workload is a CronJob",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: ''":                         "expected five fields (minute, hour, day of the month, month, day of the week), got 0",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '0 3 * *'":                  "got 4",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '60 3 * * *'":               `minute "60": "60" is not a number from 0 to 59`,
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '0 3 * * 7'":                `day of the week "7": "7" is not a number from 0 to 6 or one of sun, mon`,
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '0 5-3 * * *'":              "the range 5-3 ends before it begins",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '*/0 * * * *'":              `the step "0" is not a number above 0`,
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '@often'":                   "there are @yearly",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: '@every soon'":              "@every needs a duration",
		"towpath.dev/kind: CronJob, towpath.dev/schedule: 'TZ=Europe/Rome 0 3 * * *'": "name the time zone in the annotation towpath.dev/time-zone",
		cron + "towpath.dev/time-zone: Europe/Berln":                                  `"Europe/Berln" is not a time zone; did you mean "Europe/Berlin"?`,
		cron + "towpath.dev/time-zone: Local":                                         `"Local" is not a time zone`,
		cron + "towpath.dev/concurrency-policy: forbid":                               `"forbid" is not valid; did you mean "Forbid"?; there are Allow, Forbid, Replace`,
		cron + "towpath.dev/successful-history-limit: '-1'":                           "expected a whole number from 0 to 100",
		cron + "towpath.dev/starting-deadline: soon":                                  `"soon" is not a time: expected one such as 90s, 15m or 2h`,
		job + "towpath.dev/deadline: 10ms":                                            `"10ms" is not a time`,
		job + "towpath.dev/deadline: 9000h":                                           "a year at most",
		job + "towpath.dev/deadline: '0'":                                             "a second or more",
		job + "towpath.dev/completions: '0'":                                          "expected a whole number from 1 to 10000",
		job + "towpath.dev/parallelism: some":                                         "expected a whole number from 0 to 10000",
		job + "towpath.dev/backoff-limit: '1.5'":                                      "expected a whole number from 0 to 1000",
		job + "towpath.dev/completion-mode: Indexed":                                  "Indexed needs the number of pods: add the annotation towpath.dev/completions",
		job + "towpath.dev/restart-policy: Always":                                    "there are Never, OnFailure",
		job + "towpath.dev/suspend: 'yes'":                                            `expected "true" or "false", in quotes`,
		"towpath.dev/grace-period: '-5s'":                                             "is not a time",
	} {
		t.Run(annotations, func(t *testing.T) {
			fails(t, annotated(t, annotations), errorsv1.Reason_REASON_INVALID_SCORE, says, `workloads.app metadata.annotations.towpath\.dev/`)
		})
	}
}

func TestWhatAKindCannotHaveIsRefused(t *testing.T) {
	volume := "\nresources: {data: {type: volume, params: {perPod: true}}}"
	in := newInput(t, head+"containers: {main: {image: x, volumes: {/data: {source: '${resources.data}'}}}}"+volume)
	fails(t, in, errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app containers.main.volumes./data.source: is a claim for each pod, which only a StatefulSet can have", "perPod: false")

	in = newInput(t, head+"containers: {main: {image: x, readinessProbe: {httpGet: {path: /, port: 80, host: h}}}}")
	if _, err := render.Render(in); err != nil {
		t.Errorf("a probe with a host: %v, want that only a restricted environment refuses it", err)
	}
	in.Defaults = &rendererv1.EnvironmentDefaults{Restricted: true}
	fails(t, in, errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app containers.main.readinessProbe.httpGet.host: is refused by Pod Security", "add the header Host to httpHeaders")
}

// A Job cannot be changed: another one must be made when what it runs is another, and only then.
func TestAJobIsNamedAfterWhatItRuns(t *testing.T) {
	name := func(change func(*rendererv1.RenderInput), annotations string) string {
		t.Helper()
		in := annotated(t, "towpath.dev/kind: Job, "+annotations)
		change(in)
		resp, err := render.Render(in)
		if err != nil {
			t.Fatal(err)
		}
		files := slices.Sorted(maps.Keys(resp.GetBundle().GetFiles()))
		return files[len(files)-1]
	}
	same := func(*rendererv1.RenderInput) {}
	first := name(same, "")
	if !strings.HasPrefix(first, "job-app-") {
		t.Fatalf("the Job is in %s", first)
	}
	for what, got := range map[string]string{
		"nothing":              name(same, ""),
		"how often it retries": name(same, "towpath.dev/backoff-limit: '1'"),
		"its deadline":         name(same, "towpath.dev/deadline: 1h"),
		"its parallelism":      name(same, "towpath.dev/parallelism: '2'"),
		"whether it runs":      name(same, "towpath.dev/suspend: 'true'"),
		"labels of the type": name(func(in *rendererv1.RenderInput) {
			in.Defaults = &rendererv1.EnvironmentDefaults{Labels: map[string]string{"a": "b"}}
		}, ""),
	} {
		if got != first {
			t.Errorf("%s changed, which Kubernetes changes in place, and the Job is %s instead of %s", what, got, first)
		}
	}
	for what, got := range map[string]string{
		"the image": name(func(in *rendererv1.RenderInput) {
			in.Workloads = parse(t, "apiVersion: score.dev/v1b1\nmetadata: {name: app, annotations: {towpath.dev/kind: Job}}\ncontainers: {main: {image: y}}")
		}, ""),
		"the number of pods":        name(same, "towpath.dev/completions: '2'"),
		"the request to run again":  name(same, "towpath.dev/run: again"),
		"the type's security rules": name(func(in *rendererv1.RenderInput) { in.Defaults = &rendererv1.EnvironmentDefaults{Restricted: true} }, ""),
	} {
		if got == first {
			t.Errorf("%s changed, which Kubernetes refuses to change in a Job, and the Job is still %s", what, got)
		}
	}
}

func TestAutoscalingLeavesTheNumberOfReplicasAlone(t *testing.T) {
	auto := &rendererv1.EnvironmentDefaults{Replicas: 2, Autoscaling: &rendererv1.Autoscaling{MaxReplicas: 4}, Requests: &rendererv1.ComputeAmounts{Cpu: "100m"}}
	for what, tc := range map[string]struct {
		annotations string
		defaults    *rendererv1.EnvironmentDefaults
		replicas    string
		scaled      bool
	}{
		"autoscaling":                            {"ab.cd/cc: d", auto, "", true},
		"tow scale wins":                         {"towpath.dev/replicas: '3'", auto, "replicas: 3", false},
		"tow scale to nothing wins":              {"towpath.dev/replicas: '0'", auto, "replicas: 0", false},
		"no autoscaling":                         {"ab.cd/cc: d", &rendererv1.EnvironmentDefaults{Replicas: 2}, "replicas: 2", false},
		"autoscaling of a StatefulSet":           {"towpath.dev/kind: StatefulSet", auto, "", true},
		"a DaemonSet is never scaled":            {"towpath.dev/kind: DaemonSet", auto, "", false},
		"a Job is never scaled":                  {"towpath.dev/kind: Job", auto, "", false},
		"a StatefulSet with a number of its own": {"towpath.dev/kind: StatefulSet, towpath.dev/replicas: '3'", auto, "replicas: 3", false},
	} {
		t.Run(what, func(t *testing.T) {
			in := annotated(t, tc.annotations)
			in.Defaults = tc.defaults
			resp, err := render.Render(in)
			if err != nil {
				t.Fatal(err)
			}
			all := ""
			for name, text := range resp.GetBundle().GetFiles() {
				if !strings.HasPrefix(name, "horizontal") {
					all += string(text)
				}
			}
			if got := strings.Contains(all, "replicas:"); got != (tc.replicas != "") || !strings.Contains(all, tc.replicas) {
				t.Errorf("want %q in\n%s", tc.replicas, all)
			}
			if _, got := resp.GetBundle().GetFiles()["horizontalpodautoscaler-app.yaml"]; got != tc.scaled {
				t.Errorf("autoscaler = %t, want %t", got, tc.scaled)
			}
			if len(resp.GetWarnings()) > 0 {
				t.Errorf("warnings: %v", resp.GetWarnings())
			}
		})
	}
}

func TestAnAutoscalerThatCouldNeverActIsWarnedOf(t *testing.T) {
	in := annotated(t, "ab.cd/cc: d")
	in.Defaults = &rendererv1.EnvironmentDefaults{Autoscaling: &rendererv1.Autoscaling{MaxReplicas: 4, MemoryPercent: 70}}
	resp, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"workload app: cannot be scaled by its use of memory: containers.main requests none; add containers.main.resources.requests.memory"}
	if !slices.Equal(resp.GetWarnings(), want) {
		t.Errorf("warnings = %q, want %q", resp.GetWarnings(), want)
	}
}

func TestWrongDefaultsAreRefusedAllAtOnce(t *testing.T) {
	in := annotated(t, "ab.cd/cc: d")
	in.Defaults = &rendererv1.EnvironmentDefaults{
		Replicas: 5, Requests: &rendererv1.ComputeAmounts{Cpu: "half", Memory: "2Gi"}, Limits: &rendererv1.ComputeAmounts{Memory: "1G"},
		DisruptionBudget: &rendererv1.DisruptionBudget{MaxUnavailable: "0"},
		Network:          &rendererv1.NetworkRules{IngressNamespaces: []string{"A"}, EgressCidrs: []string{"10.0.0.1", "10.0.0.1/8"}},
		Autoscaling:      &rendererv1.Autoscaling{MaxReplicas: 3, CpuPercent: -1},
		ServiceAccount:   &rendererv1.ServiceAccountRules{Annotations: map[string]string{"towpath.dev/x": "", "a b": ""}},
		ImagePullSecrets: []string{"a", "B", "a"},
	}
	fails(t, in, errorsv1.Reason_REASON_INVALID_FIELD,
		`input.defaults.requests.cpu: "half" is not valid: expected cores such as 2 or 0.5`,
		"input.defaults.requests.memory: 2Gi is more than limits.memory, which is 1G",
		`input.defaults.disruption_budget.max_unavailable: "0" is not valid: expected a number above 0 or a percentage, such as 1 or 25%; with 0 no node could ever be drained`,
		`input.defaults.network.ingress_namespaces[0]: "A" is not the name of a namespace`,
		"input.defaults.network.ingress_namespaces: says who may come in where nobody is kept out: set network.isolate too",
		`input.defaults.network.egress_cidrs[0]: "10.0.0.1" is not a range of addresses`,
		`input.defaults.network.egress_cidrs[1]: "10.0.0.1/8" has bits behind its mask: expected 10.0.0.0/8`,
		"input.defaults.autoscaling.max_replicas: is 3, less than the least number of replicas, which is 5",
		"input.defaults.autoscaling.cpu_percent: is -1",
		`input.defaults.service_account.annotations["a b"]: is not the name of an annotation`,
		`input.defaults.service_account.annotations["towpath.dev/x"]: is reserved`,
		`input.defaults.image_pull_secrets[1]: "B" is not the name of a Secret`,
		`input.defaults.image_pull_secrets[2]: "a" is listed twice`,
	)
	in.Defaults = &rendererv1.EnvironmentDefaults{Replicas: 5000, Autoscaling: &rendererv1.Autoscaling{}}
	_, err := render.Render(in)
	if says := errs.Message(err); !strings.Contains(says, "input.defaults.replicas: is 5000") || !strings.Contains(says, "autoscaling.max_replicas: is 0: expected a number from 1 to 1000") {
		t.Errorf("error = %v", err)
	}
}
