package kube

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

// Annotations of a Score document by which it tells what becomes of it. Those about jobs hold for a Job and for each of a CronJob.
const (
	// AnnotationSchedule is when a CronJob runs: five fields, or @hourly and the like.
	AnnotationSchedule = "towpath.dev/schedule"
	// AnnotationTimeZone is the zone that a CronJob's schedule is meant in, such as Europe/Berlin.
	AnnotationTimeZone = "towpath.dev/time-zone"
	// AnnotationConcurrency is what happens when a CronJob's next run is due and the last one still runs.
	AnnotationConcurrency = "towpath.dev/concurrency-policy"
	// AnnotationStartingDeadline is how late a run of a CronJob may begin.
	AnnotationStartingDeadline = "towpath.dev/starting-deadline"
	// AnnotationSuccessfulHistory and AnnotationFailedHistory are how many ended runs of a CronJob are kept.
	AnnotationSuccessfulHistory = "towpath.dev/successful-history-limit"
	AnnotationFailedHistory     = "towpath.dev/failed-history-limit"
	// AnnotationSuspend keeps a Job or a CronJob from running.
	AnnotationSuspend = "towpath.dev/suspend"
	// AnnotationBackoffLimit is how often a job is tried again.
	AnnotationBackoffLimit = "towpath.dev/backoff-limit"
	// AnnotationDeadline is how long a job may take, with all tries.
	AnnotationDeadline = "towpath.dev/deadline"
	// AnnotationCompletions and AnnotationParallelism are how many pods a job needs to succeed, and how many run at once.
	AnnotationCompletions = "towpath.dev/completions"
	AnnotationParallelism = "towpath.dev/parallelism"
	// AnnotationCompletionMode is Indexed when each pod shall have a number.
	AnnotationCompletionMode = "towpath.dev/completion-mode"
	// AnnotationRestart is what happens to a container of a job that fails: OnFailure starts it again in its pod, Never makes another pod.
	AnnotationRestart = "towpath.dev/restart-policy"
	// AnnotationRun is any text; a Job whose text changes runs again.
	AnnotationRun = "towpath.dev/run"
	// AnnotationGracePeriod is how long pods may take to end.
	AnnotationGracePeriod = "towpath.dev/grace-period"
)

// Kinds that a workload can become.
const (
	kindDeployment  = "Deployment"
	kindStatefulSet = "StatefulSet"
	kindDaemonSet   = "DaemonSet"
	kindJob         = "Job"
	kindCronJob     = "CronJob"
)

var (
	kinds    = []string{kindDeployment, kindStatefulSet, kindDaemonSet, kindJob, kindCronJob}
	scalable = []string{kindDeployment, kindStatefulSet}
	jobs     = []string{kindJob, kindCronJob}
	cronJobs = []string{kindCronJob}
)

// known tells for each annotation of Towpath which kinds it is for.
var known = map[string][]string{
	AnnotationKind: kinds, AnnotationUser: kinds, AnnotationGracePeriod: kinds,
	AnnotationReplicas: scalable,
	AnnotationSchedule: cronJobs, AnnotationTimeZone: cronJobs, AnnotationConcurrency: cronJobs, AnnotationStartingDeadline: cronJobs,
	AnnotationSuccessfulHistory: cronJobs, AnnotationFailedHistory: cronJobs,
	AnnotationSuspend: jobs, AnnotationBackoffLimit: jobs, AnnotationDeadline: jobs, AnnotationCompletions: jobs, AnnotationParallelism: jobs,
	AnnotationCompletionMode: jobs, AnnotationRestart: jobs, AnnotationRun: {kindJob},
	syncmark.Wave: kinds, syncmark.Prune: kinds, syncmark.Hook: {kindJob}, syncmark.HookDelete: {kindJob},
}

// settings reads which kind the workload is, and refuses annotations of Towpath that nobody would obey: a typing mistake must not be
// a setting that is silently missing.
func (b *builder) settings() {
	b.kind = kindDeployment
	if asked, given := b.asked(AnnotationKind); given {
		if b.kind = asked; !slices.Contains(kinds, asked) {
			b.wrong(AnnotationKind, "%q is no kind of workload%s; there are %s", asked, score.Suggest(asked, kinds), strings.Join(kinds, ", "))
			b.kind = kindDeployment
			return // what else is said may be meant for the right kind
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.annotations())) {
		if !strings.HasPrefix(name, AnnotationPrefix) {
			continue
		}
		of, ok := known[name]
		switch {
		case !ok:
			b.wrong(name, "is no annotation that Towpath knows%s; there are %s", score.Suggest(name, Annotations()), strings.Join(Annotations(), ", "))
		case !slices.Contains(of, b.kind):
			b.wrong(name, "%s", b.misplaced(name, of))
		}
	}
	b.syncMarks()
	if _, given := b.asked(AnnotationSchedule); b.kind == kindCronJob && !given {
		b.wrong(AnnotationKind, "a CronJob needs a schedule: add the annotation %s, such as \"0 3 * * *\"", AnnotationSchedule)
	}
}

// misplaced says why an annotation is not for this kind, and what to do.
func (b *builder) misplaced(name string, of []string) string {
	switch {
	case name == AnnotationReplicas && b.kind == kindDaemonSet:
		return "a DaemonSet runs one pod on every node and has no number of replicas: remove the annotation, or make it a Deployment"
	case name == AnnotationReplicas:
		return "a " + b.kind + " has no replicas: use " + AnnotationParallelism + " for pods that run at once"
	case name == AnnotationSchedule:
		return "a " + b.kind + " has no schedule: set " + AnnotationKind + " to CronJob, or remove the annotation"
	default:
		return "is for a " + strings.Join(of, " or ") + ", and the workload is a " + b.kind + ": remove it, or change " + AnnotationKind
	}
}

// Annotations are the names of all annotations by which a document speaks to Towpath, sorted.
func Annotations() []string { return slices.Sorted(maps.Keys(known)) }

// asked gives what an annotation of the document says.
func (b *builder) asked(annotation string) (string, bool) {
	s, given := b.annotations()[annotation].(string)
	return s, given
}

func (b *builder) wrong(annotation, format string, args ...any) {
	b.invalid(annotationPath(annotation), format, args...)
}

// count puts a whole number that an annotation names into a map.
func (b *builder) count(into map[string]any, key, annotation string, least, most int) {
	asked, given := b.asked(annotation)
	if !given {
		return
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < least || n > most {
		b.wrong(annotation, "%q is not valid: expected a whole number from %d to %d", asked, least, most)
	}
	into[key] = b.annotated(n, annotation)
}

// maxSeconds is a year, more than anything may reasonably take.
const maxSeconds = 366 * 24 * 3600

// seconds puts a time that an annotation names into a map, in seconds.
func (b *builder) seconds(into map[string]any, key, annotation string) {
	asked, given := b.asked(annotation)
	if !given {
		return
	}
	n, err := strconv.Atoi(asked)
	if err != nil {
		var d time.Duration
		if d, err = time.ParseDuration(asked); err == nil {
			n = int(d / time.Second)
		}
	}
	if err != nil || n < 1 || n > maxSeconds {
		b.wrong(annotation, "%q is not a time: expected one such as 90s, 15m or 2h, a second or more, a year at most", asked)
	}
	into[key] = b.annotated(n, annotation)
}

// word puts one of some words that an annotation names into a map.
func (b *builder) word(into map[string]any, key, annotation string, words ...string) {
	asked, given := b.asked(annotation)
	if !given {
		return
	}
	if !slices.Contains(words, asked) {
		b.wrong(annotation, "%q is not valid%s; there are %s", asked, score.Suggest(asked, words), strings.Join(words, ", "))
	}
	into[key] = b.annotated(asked, annotation)
}

// flag puts a yes or no that an annotation names into a map.
func (b *builder) flag(into map[string]any, key, annotation string) {
	asked, given := b.asked(annotation)
	if !given {
		return
	}
	if asked != "true" && asked != "false" {
		b.wrong(annotation, "%q is not valid: expected \"true\" or \"false\", in quotes", asked)
	}
	into[key] = b.annotated(asked == "true", annotation)
}

// syncMarks reads what the document says of its sync. All objects of the workload get it, because what a Deployment of a later wave
// or a hook reads must be there when it starts, and not after it.
func (b *builder) syncMarks() {
	marks := map[string]string{}
	for name, v := range b.annotations() {
		if s, ok := v.(string); ok && syncmark.Known(name) {
			marks[name] = s
		}
	}
	if len(marks) == 0 {
		return
	}
	m, err := syncmark.Read(marks)
	if err != nil {
		for _, name := range slices.Sorted(maps.Keys(marks)) {
			if strings.Contains(err.Error(), name) {
				b.wrong(name, "%s", err)
				return
			}
		}
	}
	if m.IsHook() && b.kind != kindJob {
		b.wrong(AnnotationKind, "the workload runs as a hook of syncs, which only a Job can: set %s to Job", AnnotationKind)
	}
	b.marks = marks
}

// marked adds what the document says of its sync to the metadata of an object.
func (b *builder) marked(meta map[string]any) map[string]any {
	if len(b.marks) == 0 {
		return meta
	}
	annotations := map[string]any{}
	for name, v := range b.marks {
		annotations[name] = b.annotated(v, name)
	}
	meta["annotations"] = annotations
	return meta
}
