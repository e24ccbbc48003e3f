package committer_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// chaosEnv makes the long form ("long"), seedEnv repeats a run.
const (
	chaosEnv = "TOWPATH_CHAOS"
	seedEnv  = "TOWPATH_CHAOS_SEED"
)

// storm is how much goes wrong in one run.
type storm struct {
	environments, generations int
	writers, pushes           int // of people, and of each of them
	replicas                  int
	kills, faults             int
}

func TestChaosLosesNothingAndDoesNothingTwice(t *testing.T) {
	variants := map[string]storm{
		"one committer":  {environments: 34, generations: 3, writers: 4, pushes: 2, replicas: 1, kills: 2, faults: 6},
		"two committers": {environments: 20, generations: 5, writers: 4, pushes: 2, replicas: 2, kills: 2, faults: 6},
	}
	rounds := 1
	if os.Getenv(chaosEnv) == "long" {
		rounds = 10
		for what, s := range variants {
			s.pushes, s.kills, s.faults = 12, 15, 40
			variants[what] = s
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	for round := range rounds {
		for what, s := range variants {
			t.Run(fmt.Sprintf("%s %d", what, round), func(t *testing.T) {
				if rounds == 1 {
					t.Parallel()
				}
				seed := seed + uint64(round)
				t.Logf("repeat this with %s=%d", seedEnv, seed)
				s.rage(t, rand.New(rand.NewPCG(seed, uint64(s.replicas))))
			})
		}
	}
}

// chaos is one run.
type chaos struct {
	storm
	t    *testing.T
	w    *world
	host *gittest.Server

	mu    sync.Mutex
	dice  *rand.Rand
	crew  []*process
	dirs  []string
	stop  chan struct{}
	alive sync.WaitGroup
}

func (s storm) rage(t *testing.T, dice *rand.Rand) {
	w, host := remote(t, func(w *world) { w.cfg.LeaseTTL, w.cfg.PushDeadline = 2*time.Second, 2*time.Second })
	w.stop() // the committers are processes of their own
	c := &chaos{storm: s, t: t, w: w, host: host, dice: dice, stop: make(chan struct{})}
	w.bare.Commit("main", "begin", map[string][]byte{"README.md": []byte("hello")})
	for i := range s.replicas {
		c.dirs = append(c.dirs, t.TempDir())
		c.crew = append(c.crew, w.spawn(fmt.Sprint("replica-", i), c.dirs[i]))
	}
	clones := c.clones()
	for n := 1; n <= s.generations; n++ {
		for e := range s.environments {
			w.send(w.change(environment(e), n, map[string]string{"a.yaml": fmt.Sprint("generation ", n), "b/c.yaml": fmt.Sprint(e)}))
		}
	}
	begin := time.Now()
	phase := func(what string) { t.Logf("%s after %s", what, time.Since(begin).Round(time.Millisecond)) }
	for i, dir := range clones {
		c.alive.Go(func() { c.person(i, dir) })
	}
	c.alive.Go(c.weather)
	c.alive.Go(c.killer)
	c.alive.Wait()
	phase("the storm is over")
	host.Heal()
	host.Release()
	for n := 1; n <= s.generations; n++ {
		for e := range s.environments {
			c.patient(name(environment(e), n))
		}
	}
	phase("all is committed")
	w.settled()
	c.check()
	phase("all is checked")
}

func environment(e int) string { return fmt.Sprintf("env-%02d", e) }

// patient waits for a deployment's commit for as long as a machine under the race detector may take.
func (c *chaos) patient(deployment string) {
	c.t.Helper()
	for end := time.Now().Add(3 * patience); !c.w.has("deployment.committed", deployment); time.Sleep(20 * time.Millisecond) {
		if c.w.has("deployment.failed", deployment) {
			c.t.Fatalf("%s failed: %v", deployment, c.w.failed(deployment))
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s is never committed; seen: %s", deployment, c.w.summary())
		}
	}
}

// roll gives a random number below n.
func (c *chaos) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dice.IntN(n)
}

// clones gives each person one.
func (c *chaos) clones() []string {
	var all []string
	for range c.writers {
		dir := filepath.Join(c.t.TempDir(), "clone")
		gittest.Git(c.t, filepath.Dir(dir), "clone", "--quiet", c.host.URL("shop"), dir)
		all = append(all, dir)
	}
	return all
}

// person commits files beside the environments' folders and inside of them, and pushes each until it got through.
func (c *chaos) person(i int, dir string) {
	for k := range c.pushes {
		mine := map[string]string{fmt.Sprintf("by-hand/%d-%d.txt", i, k): "mine"}
		if c.roll(2) == 0 {
			mine[fmt.Sprintf("environments/%s/shop/hotfix-%d-%d.txt", environment(c.roll(c.environments)), i, k)] = "in Towpath's folder"
		}
		for file, text := range mine {
			path := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				c.t.Error(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				c.t.Error(err)
			}
		}
		for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "-m", fmt.Sprintf("by hand %d-%d", i, k)}} {
			if out, err := gittest.TryGit(c.t, dir, args...); err != nil {
				c.t.Errorf("git %v: %v\n%s", args, err, out)
			}
		}
		c.pushByHand(dir)
	}
}

// pushByHand is a person who tries again whatever the host answers.
func (c *chaos) pushByHand(dir string) {
	for range 300 {
		if _, err := gittest.TryGit(c.t, dir, "push", "--quiet", "origin", "HEAD:main"); err == nil {
			return
		}
		if _, err := gittest.TryGit(c.t, dir, "pull", "--quiet", "--rebase", "origin", "main"); err != nil {
			_, _ = gittest.TryGit(c.t, dir, "rebase", "--abort") // none was begun where the host was away
			time.Sleep(time.Duration(c.roll(50)) * time.Millisecond)
		}
	}
	c.t.Error("a person's commit was never pushed")
}

// weather is what the host does wrong.
func (c *chaos) weather() {
	kinds := []gittest.Kind{
		gittest.Status, gittest.StatusAfter, gittest.Hang, gittest.HangAfter, gittest.ResetAfter, gittest.ResetBefore,
		gittest.EmptyAfter, gittest.TruncateAfter,
	}
	for range c.faults {
		f := gittest.Fault{Kind: kinds[c.roll(len(kinds))], Status: 500, Method: "POST", Path: []string{"git-receive-pack", "git-upload-pack"}[c.roll(4)/3], Agent: "towpath"}
		c.host.Fail(f)
		time.Sleep(time.Duration(100+c.roll(400)) * time.Millisecond)
	}
}

// killer ends committers, now and then while the host is at their push, and starts them again.
func (c *chaos) killer() {
	for range c.kills {
		i := c.roll(len(c.crew))
		time.Sleep(time.Duration(200+c.roll(800)) * time.Millisecond)
		if c.roll(2) == 0 {
			at := make(chan struct{})
			kind := []gittest.Kind{gittest.ResetAfter, gittest.ResetBefore, gittest.Late}[c.roll(3)]
			c.host.Fail(gittest.Fault{Kind: kind, Method: "POST", Path: "git-receive-pack", Agent: "towpath", Then: func() { close(at) }})
			select {
			case <-at:
			case <-time.After(2 * time.Second): // nothing is pushed at the moment
			}
		}
		c.crew[i].kill()
		c.crew[i] = c.w.spawn(fmt.Sprint("replica-", i), c.dirs[i])
	}
}

// check holds the repository against what was asked.
func (c *chaos) check() {
	t, all := c.t, deploymentsInOrder(c.w.bare)
	last := map[string]int{}
	count := map[string]int{}
	for _, d := range all {
		count[d]++
		env, number, _ := strings.Cut(strings.TrimPrefix(d, "applications/shop/environments/"), "/deployments/")
		n, err := strconv.Atoi(number)
		if err != nil || n <= last[env] {
			t.Errorf("%s comes after generation %d of its environment", d, last[env])
		}
		last[env] = n
	}
	for e := range c.environments {
		for n := 1; n <= c.generations; n++ {
			if d := name(environment(e), n); count[d] != 1 {
				t.Errorf("%s has %d commits", d, count[d])
			}
		}
		if got := c.w.bare.Show("main", "environments/"+environment(e)+"/shop/a.yaml"); got != fmt.Sprint("generation ", c.generations) {
			t.Errorf("%s ended as %q", environment(e), got)
		}
	}
	if want := c.environments * c.generations; len(all) != want {
		t.Errorf("%d commits of deployments, want %d", len(all), want)
	}
	files, subjects := c.w.bare.Files("main"), c.w.bare.Log("main")
	for i := range c.writers {
		for k := range c.pushes {
			if f := fmt.Sprintf("by-hand/%d-%d.txt", i, k); !slices.Contains(files, f) || c.w.bare.Show("main", f) != "mine" {
				t.Errorf("%s is lost", f)
			}
			if s := fmt.Sprintf("by hand %d-%d", i, k); !slices.Contains(subjects, s) {
				t.Errorf("the commit %q is lost", s)
			}
		}
	}
	told := map[string]int{}
	for _, d := range c.w.all("deployment.committed") {
		told[d.Resource]++
	}
	for d, n := range told {
		if n != 1 {
			t.Errorf("%s was told %d times", d, n)
		}
	}
	for _, p := range c.crew {
		p.kill()
	}
	c.w.bare.Fsck()
}
