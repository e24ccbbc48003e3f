package kube

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/origin"
	"github.com/towpath-dev/towpath/services/renderer/score"
	"github.com/towpath-dev/towpath/services/renderer/yamlout"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

const (
	// maxCronJob is how long the name of a CronJob may be: its Jobs get eleven characters more.
	maxCronJob = 52
	// maxPods is how many pods a job may ask for.
	maxPods = 10_000
	// maxRetries and maxHistory keep typing mistakes from filling a cluster.
	maxRetries = 1000
	maxHistory = 100
)

// job makes a Job. What a Job runs can never be changed in Kubernetes, so that its name ends with a hash of that: a changed document
// makes another Job, which runs, and the old one is pruned; an unchanged one is left alone, run or not.
func (b *builder) job(template map[string]any) {
	spec := b.jobSpec(template)
	b.flag(spec, "suspend", AnnotationSuspend)
	b.mainName = definition.Shorten(b.in.Workload, 52) + "-" + b.fingerprint(spec)
	b.object("batch/v1", kindJob, b.mainName, map[string]any{"spec": spec})
}

// fingerprint is a hash of what cannot be changed in a Job.
func (b *builder) fingerprint(spec map[string]any) string {
	fixed := map[string]any{}
	for _, key := range []string{"template", "completions", "completionMode"} {
		if v, ok := spec[key]; ok {
			fixed[key] = v
		}
	}
	if b.in.Trace.On() {
		fixed, _ = origin.Strip(fixed)
	}
	content, err := yamlout.Marshal(fixed)
	if err != nil {
		b.problem(errorsv1.Reason_REASON_INVALID_SCORE, "containers", "cannot be written: %v", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:5])
}

func (b *builder) cronJob(template map[string]any) {
	of := map[string]any{"spec": b.jobSpec(template)}
	if meta, ok := template["metadata"].(map[string]any); ok {
		of["metadata"] = map[string]any{"labels": meta["labels"]}
	}
	spec := map[string]any{"jobTemplate": of}
	if schedule, given := b.asked(AnnotationSchedule); given {
		if problem := checkSchedule(schedule); problem != "" {
			b.wrong(AnnotationSchedule, "%q is not a schedule: %s", schedule, problem)
		}
		spec["schedule"] = b.annotated(schedule, AnnotationSchedule)
	}
	if zone, given := b.asked(AnnotationTimeZone); given {
		if names := zones(); !slices.Contains(names, zone) {
			b.wrong(AnnotationTimeZone, "%q is not a time zone%s; expected a name such as Etc/UTC or Europe/Berlin", zone, score.Suggest(zone, alike(names, zone)))
		}
		spec["timeZone"] = b.annotated(zone, AnnotationTimeZone)
	}
	b.word(spec, "concurrencyPolicy", AnnotationConcurrency, "Allow", "Forbid", "Replace")
	b.seconds(spec, "startingDeadlineSeconds", AnnotationStartingDeadline)
	b.count(spec, "successfulJobsHistoryLimit", AnnotationSuccessfulHistory, 0, maxHistory)
	b.count(spec, "failedJobsHistoryLimit", AnnotationFailedHistory, 0, maxHistory)
	b.flag(spec, "suspend", AnnotationSuspend)
	b.mainName = definition.Shorten(b.in.Workload, maxCronJob)
	b.object("batch/v1", kindCronJob, b.mainName, map[string]any{"spec": spec})
}

// jobSpec makes what Job and CronJob have in common.
func (b *builder) jobSpec(template map[string]any) map[string]any {
	spec := map[string]any{"template": template}
	pod, _ := template["spec"].(map[string]any)
	pod["restartPolicy"] = b.rule("Never", "a failed pod stays, so that its logs can be read; the next try is another pod")
	b.word(pod, "restartPolicy", AnnotationRestart, "Never", "OnFailure")
	b.count(spec, "completions", AnnotationCompletions, 1, maxPods)
	b.count(spec, "parallelism", AnnotationParallelism, 0, maxPods)
	b.word(spec, "completionMode", AnnotationCompletionMode, "Indexed", "NonIndexed")
	b.count(spec, "backoffLimit", AnnotationBackoffLimit, 0, maxRetries)
	b.seconds(spec, "activeDeadlineSeconds", AnnotationDeadline)
	if _, given := spec["completions"]; !given && origin.Plain(spec["completionMode"]) == "Indexed" {
		b.wrong(AnnotationCompletionMode, "Indexed needs the number of pods: add the annotation %s", AnnotationCompletions)
	}
	parallel, _ := origin.Plain(spec["parallelism"]).(int)
	if b.exclusive && parallel > 1 {
		b.warn("runs %d pods at once that share a ReadWriteOnce volume: pods on different nodes cannot all mount it", parallel)
	}
	if len(b.servicePorts()) > 0 {
		b.warn("is a %s with a service: it answers only while a pod of it runs", b.kind)
	}
	return spec
}

//go:embed zones.txt
var zoneNames string

// zones are the names of the IANA time zones. They are a list of our own because looking a zone up would read the machine's files,
// and what renders must be the same everywhere.
var zones = sync.OnceValue(func() []string { return strings.Fields(zoneNames) })

// alike gives the zones that begin as a name does: comparing it with all of them would be a lot of work.
func alike(names []string, zone string) []string {
	start := strings.ToLower(zone[:min(len(zone), 4)])
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(strings.ToLower(n), start) })
}

// cronField is one of the five fields of a schedule.
type cronField struct {
	name        string
	least, most int
	words       []string
}

var cronFields = []cronField{
	{"minute", 0, 59, nil}, {"hour", 0, 23, nil}, {"day of the month", 1, 31, nil},
	{"month", 1, 12, strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")},
	{"day of the week", 0, 6, strings.Fields("sun mon tue wed thu fri sat")},
}

var cronMacros = strings.Fields("@yearly @annually @monthly @weekly @daily @midnight @hourly")

// checkSchedule says what is wrong with a schedule, as Kubernetes would read it.
func checkSchedule(s string) string {
	if strings.HasPrefix(s, "@") {
		if every, ok := strings.CutPrefix(s, "@every "); ok {
			return checkEvery(every)
		}
		if !slices.Contains(cronMacros, s) {
			return "there are " + strings.Join(cronMacros, ", ") + " and @every with a duration"
		}
		return ""
	}
	if strings.Contains(s, "TZ=") {
		return "name the time zone in the annotation " + AnnotationTimeZone
	}
	fields := strings.Fields(s)
	if len(fields) != len(cronFields) {
		return fmt.Sprintf("expected five fields (minute, hour, day of the month, month, day of the week), got %d", len(fields))
	}
	for i, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			if problem := cronFields[i].check(part); problem != "" {
				return fmt.Sprintf("%s %q: %s", cronFields[i].name, f, problem)
			}
		}
	}
	return ""
}
