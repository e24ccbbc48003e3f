package app_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/app/apptest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

func TestTheWholeSystemStopsWithoutLeavingAGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := apptest.Start(t)
	d := s.DeployScore(t, s.NewEnvironment(t, "shop/dev"), apptest.Score("web", nil))
	s.WaitState(t, d.GetName(), apptest.Syncing)
	s.Clone(t)
	if code, body := s.REST(t, "GET", "/v1/whoami", ""); code != http.StatusOK {
		t.Errorf("whoami over REST: %d %s", code, body)
	}
	if code, body := s.REST(t, "GET", "/schemas/score-v1b1.json", ""); code != http.StatusOK || !strings.Contains(body, `"$schema"`) {
		t.Errorf("the schema of Score documents: %d %.200s", code, body)
	}
	s.Stop(t)
	apptest.VerifyNoLeaks(t, before)
}
