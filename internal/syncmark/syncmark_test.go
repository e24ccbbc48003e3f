package syncmark_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/syncmark"
)

func TestMarksOfEveryToolMeanTheSame(t *testing.T) {
	t.Parallel()
	hook := func(wave int32, p ...syncmark.Phase) syncmark.Marks {
		return syncmark.Marks{Wave: wave, Phases: p, Delete: []syncmark.DeletePolicy{syncmark.BeforeHookCreation}}
	}
	for _, c := range []struct {
		in   map[string]string
		want syncmark.Marks
	}{
		{nil, syncmark.Marks{}},
		{map[string]string{"argocd.argoproj.io/sync-wave": "-5"}, syncmark.Marks{Wave: -5}},
		{map[string]string{"argocd.argoproj.io/sync-wave": "1", "towpath.dev/sync-wave": "2"}, syncmark.Marks{Wave: 2}},
		{map[string]string{"argocd.argoproj.io/hook": "PreSync,PostSync"}, hook(0, syncmark.PreSync, syncmark.PostSync)},
		{map[string]string{"towpath.dev/hook": "SyncFail", "towpath.dev/sync-wave": "3"}, hook(3, syncmark.SyncFail)},
		{map[string]string{"argocd.argoproj.io/hook": "Skip"}, syncmark.Marks{Skip: true}},
		{map[string]string{"argocd.argoproj.io/hook": "PostDelete"}, syncmark.Marks{Skip: true}},
		{
			map[string]string{"argocd.argoproj.io/hook": "Sync", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded, HookFailed"},
			syncmark.Marks{Phases: []syncmark.Phase{syncmark.Sync}, Delete: []syncmark.DeletePolicy{syncmark.HookSucceeded, syncmark.HookFailed}},
		},
	} {
		got, err := syncmark.Read(c.in)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%v: %v (-want +got):\n%s", c.in, err, diff)
		}
	}
	for name, value := range map[string]string{
		"towpath.dev/sync-wave": "1.5", "argocd.argoproj.io/sync-wave": "99999999999", "towpath.dev/hook": "PostDelete", "argocd.argoproj.io/hook-delete-policy": "Never",
	} {
		if _, err := syncmark.Read(map[string]string{name: value, "x": "y"}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s gives %v", name, value, err)
		}
	}
}

func TestProtectionAndRemovalNeverDeleteByMistake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value, want string
	}{
		{"towpath.dev/prune", "disabled", "towpath.dev/prune: disabled"},
		{"argocd.argoproj.io/sync-options", "Validate=false, Prune=false", "argocd.argoproj.io/sync-options: Prune=false"},
		{"kustomize.toolkit.fluxcd.io/prune", "Disabled", "kustomize.toolkit.fluxcd.io/prune: disabled"},
		{"argocd.argoproj.io/sync-options", "Prune=true", ""},
	} {
		if got := syncmark.Protected(map[string]string{c.name: c.value}); got != c.want {
			t.Errorf("%s: %s gives %q, want %q", c.name, c.value, got, c.want)
		}
	}
	for value, want := range map[string]syncmark.Removal{"delete": syncmark.Delete, "keep": syncmark.Keep, "snapshot": syncmark.Snapshot, "Delete": syncmark.Keep, "": syncmark.RemovalUnsaid} {
		if got := syncmark.ReadRemoval(map[string]string{syncmark.OnRemoval: value}); got != want {
			t.Errorf("%q gives %q, want %q", value, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("1", "PreSync", "HookFailed")
	f.Fuzz(func(t *testing.T, wave, hook, policy string) {
		m, err := syncmark.Read(map[string]string{syncmark.Wave: wave, syncmark.Hook: hook, syncmark.HookDelete: policy})
		if err == nil && m.IsHook() && len(m.Delete) == 0 {
			t.Errorf("the hook %q is never removed", hook)
		}
		if err != nil && len(m.Phases) > 0 {
			t.Error("what cannot be read says something")
		}
	})
}
