package accept_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/towpath-dev/towpath/services/renderer/kube"
)

// What is said of schedules and time zones is what the server says. Only what it takes though it makes no sense, such as a range from
// "*", is refused: it reads less than what is written.
func TestSchedulesAreJudgedAsTheServerDoes(t *testing.T) {
	s := newServer(t)
	s.namespace(t, "schedules", false)
	const always, senseless = "0 0 1 1 *", "-"
	for _, tc := range []struct{ schedule, zone string }{
		{"* * * * *", ""}, {"*/5 0-23/2 1,15 jan-mar,DEC MON-fri", ""}, {"0 0 ? * 0", ""}, {"5/10 * * * *", ""}, {"@daily", ""}, {"@every 90m", ""},
		{"@every 1h30m10s", ""}, {"  0   3 * * *  ", ""}, {"0 3 * * sun-tue", ""}, {"59 23 31 12 6", ""}, {"00 03 * * *", ""},
		{"60 * * * *", ""}, {"* 24 * * *", ""}, {"* * 0 * *", ""}, {"* * 32 * *", ""}, {"* * * 13 *", ""}, {"* * * 0 *", ""}, {"* * * * 7", ""},
		{"* * * *", ""}, {"* * * * * *", ""}, {"", ""}, {"@", ""}, {"@fortnightly", ""}, {"@every", ""}, {"@every x", ""}, {"*/0 * * * *", ""},
		{"5-1 * * * *", ""}, {"a * * * *", ""}, {"-1 * * * *", ""}, {"1-2-3 * * * *", ""}, {"1/2/3 * * * *", ""},
		{"* * * monday *", ""}, {"TZ=Etc/UTC 0 3 * * *", ""}, {"CRON_TZ=Etc/UTC 0 3 * * *", ""}, {"?/2 * * * *", ""}, {"@Daily", ""},
		{"1, * * * *", senseless}, {"+1 * * * *", senseless}, {"*-5 * * * *", senseless},
		{always, "Europe/Berlin"}, {always, "Etc/UTC"}, {always, "UTC"}, {always, "America/Argentina/Buenos_Aires"}, {always, "Asia/Kathmandu"}, {always, "GMT"},
		{always, "Local"}, {always, "Mars/Olympus"}, {always, "europe"}, {always, "../etc"}, {always, ""},
	} {
		annotations := map[string]any{kube.AnnotationKind: "CronJob", kube.AnnotationSchedule: tc.schedule}
		if tc.zone != "" && tc.zone != senseless {
			annotations[kube.AnnotationTimeZone] = tc.zone
		}
		objects, _, problems := kube.Build(kube.Input{
			Workload: "app", Place: kube.Place{Application: "a", Environment: "b", Namespace: "schedules", Instance: "a-b"},
			Doc: map[string]any{
				"metadata":   map[string]any{"name": "app", "annotations": annotations},
				"containers": map[string]any{"main": map[string]any{"image": "x"}},
			},
			Expand: func(text string) (string, error) { return text, nil },
		})
		err := s.apply(t, &unstructured.Unstructured{Object: objects[0]}, true)
		if tc.zone == senseless {
			if err != nil || len(problems) == 0 {
				t.Errorf("schedule %q: the server says %v, the renderer %v, want that the renderer alone refuses it", tc.schedule, err, problems)
			}
			continue
		}
		if (err == nil) != (len(problems) == 0) {
			t.Errorf("schedule %q in zone %q: the server says %v, the renderer %v", tc.schedule, tc.zone, err, problems)
		}
	}
}
