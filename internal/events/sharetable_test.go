package events

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// replicas that join, leave, die and act one after the other on what they see come to parts that differ by one at most, and no
// shard ever has two holders.
func TestSharesComeToEqualPartsWhoeverComesAndGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := Shards()
		now := time.Unix(0, 0)
		const ttl = 10 * time.Second
		world := newShareTable()
		mine := map[string]map[string]bool{}
		var rev uint64
		put := func(key, session string) {
			rev++
			world.see(key, shareValue{Session: session, Name: session}, rev, now)
		}
		act := func(self string) {
			take, give := world.plan(self, shards, mine[self], now, ttl)
			for _, s := range give {
				delete(mine[self], s)
				put(prefixShard+s, "")
			}
			for _, s := range take {
				for other, has := range mine {
					if has[s] {
						t.Fatalf("%s takes %s, which %s has", self, s, other)
					}
				}
				mine[self][s] = true
				put(prefixShard+s, self)
			}
		}
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(mine) == 20 {
					return
				}
				n++
				self := fmt.Sprintf("r%d", n)
				mine[self] = map[string]bool{}
				put(prefixReplica+self, self)
			},
			"leave": func(t *rapid.T) {
				if len(mine) == 0 {
					return
				}
				self := rapid.SampledFrom(keys(mine)).Draw(t, "who")
				for s := range mine[self] {
					put(prefixShard+s, "")
				}
				put(prefixReplica+self, "")
				delete(mine, self)
			},
			"die": func(t *rapid.T) {
				if len(mine) == 0 {
					return
				}
				self := rapid.SampledFrom(keys(mine)).Draw(t, "who")
				delete(mine, self)
				put(prefixReplica+self, "") // as somebody does after the TTL
			},
			"act": func(t *rapid.T) {
				if len(mine) > 0 {
					act(rapid.SampledFrom(keys(mine)).Draw(t, "who"))
				}
			},
			"": func(t *rapid.T) {},
		})
		if len(mine) == 0 {
			return
		}
		for range 3 {
			for _, self := range keys(mine) {
				act(self)
			}
		}
		total := 0
		for self, has := range mine {
			total += len(has)
			if part := len(shards) / len(mine); len(has) < part || len(has) > part+1 {
				t.Fatalf("%s has %d of %d shards among %d", self, len(has), len(shards), len(mine))
			}
		}
		if total != len(shards) {
			t.Fatalf("%d of %d shards have a holder", total, len(shards))
		}
	})
}

func keys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func TestAReplicaWithoutASignOfLifeKeepsItsShardsUntilItIsBuried(t *testing.T) {
	table, start := newShareTable(), time.Unix(0, 0)
	table.see(prefixReplica+"other", shareValue{Session: "other"}, 1, start)
	for i, s := range Shards() {
		table.see(prefixShard+s, shareValue{Session: "other"}, uint64(i+2), start)
	}
	if take, _ := table.plan("self", Shards(), nil, start.Add(time.Hour), time.Second); len(take) != 0 {
		t.Errorf("shards of a replica that may live are taken: %v", take)
	}
	table.see(prefixReplica+"other", shareValue{}, 100, start)
	if take, _ := table.plan("self", Shards(), nil, start.Add(time.Hour), time.Second); len(take) != len(Shards()) {
		t.Errorf("taken from the dead: %v", take)
	}
	// News that arrive late change nothing.
	table.see(prefixReplica+"self", shareValue{Session: "self"}, 200, start)
	if _, changed := table.see(prefixShard+"00", shareValue{Session: "older"}, 1, start); changed {
		t.Error("an older revision was taken for news")
	}
}

func TestSpellingsOfOneRepositoryAreOneShard(t *testing.T) {
	for _, spellings := range [][]string{
		{"https://git.example.com/team/x.git", "https://git.example.com/team/x", "https://GIT.example.com:443/team/x/", "HTTPS://git.example.com/team/x.git/"},
		{"ssh://git@git.example.com:22/team/x.git", "git@git.example.com:team/x.git", "git.example.com:team/x"},
		{"embedded:///shop", "embedded:///shop.git"},
	} {
		for _, s := range spellings {
			if onePlace(s) != onePlace(spellings[0]) {
				t.Errorf("%q is %q and %q is %q", s, onePlace(s), spellings[0], onePlace(spellings[0]))
			}
			if !slices.Contains(Shards(), Shard(s, "main")) {
				t.Errorf("%q is in shard %q", s, Shard(s, "main"))
			}
		}
	}
	seen := map[string]bool{}
	for i := range 200 {
		seen[Shard(fmt.Sprintf("https://git.example.com/%d", i), "main")] = true
	}
	if len(seen) != shardCount {
		t.Errorf("200 repositories are in %d shards", len(seen))
	}
}
