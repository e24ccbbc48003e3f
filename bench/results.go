package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// result is one figure of results.json.
type result struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Peer is what else would do the job, PeerValue its figure in the same unit and the same run.
	Peer      string  `json:"peer,omitempty"`
	PeerValue float64 `json:"peer_value,omitempty"`
	// Others are further peers.
	Others []peer `json:"others,omitempty"`
	// Cores and OS are the machine's: a figure means nothing without them.
	Cores int    `json:"cores"`
	OS    string `json:"os"`
}

// peer is what else would do a job, and its figure.
type peer struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// report collects what one run measured.
type report struct{ results map[string]result }

// add notes a figure. One that is not described is a mistake in this program: the page would show a number without a meaning.
func (r *report) add(name string, value float64, peer string, peerValue float64) {
	f, ok := figures[name]
	if !ok {
		panic("figures.go does not describe " + name)
	}
	r.results[name] = result{
		Value: rounded(value), Unit: f.unit, Peer: peer, PeerValue: rounded(peerValue),
		Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// addBeside is add for several peers.
func (r *report) addBeside(name string, value float64, peers ...peer) {
	if len(peers) == 0 {
		r.add(name, value, "", 0)
		return
	}
	r.add(name, value, peers[0].Name, peers[0].Value)
	v := r.results[name]
	for _, p := range peers[1:] {
		v.Others = append(v.Others, peer{p.Name, rounded(p.Value)})
	}
	r.results[name] = v
}

// others gives one result for each further peer, to be shown like the first.
func (v result) others() []result {
	out := make([]result, 0, len(v.Others))
	for _, p := range v.Others {
		out = append(out, result{Value: v.Value, Unit: v.Unit, Peer: p.Name, PeerValue: p.Value})
	}
	return out
}

// rounded keeps three digits: more would be noise, and would change with every run.
func rounded(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func (r *report) print(w io.Writer) error {
	if len(r.results) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tVALUE\tUNIT\tBAR\tPEER\tPEER'S\tRATIO")
	for _, name := range slices.Sorted(maps.Keys(r.results)) {
		v := r.results[name]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, value(v.Value), v.Unit, figures[name].barText(v.Value), v.Peer, number(v.PeerValue), v.ratio(name))
		for _, o := range v.others() {
			fmt.Fprintf(t, "\t\t\t\t%s\t%s\t%s\n", o.Peer, number(o.PeerValue), o.ratio(name))
		}
	}
	return t.Flush()
}

// value writes a figure for people.
func value(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// number is value for a figure that may not be there: nothing for none.
func number(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// ratio tells how many times better than its peer a figure is.
func (v result) ratio(name string) string {
	if v.PeerValue == 0 || v.Value == 0 {
		return ""
	}
	ratio := v.PeerValue / v.Value
	if figures[name].more {
		ratio = 1 / ratio
	}
	return strconv.FormatFloat(rounded(ratio), 'f', -1, 64) + "x"
}

// save merges the figures into the file; those of other areas stay. Keys are sorted, so that a run changes only its own lines.
func (r *report) save(file string) error {
	if len(r.results) == 0 {
		return nil
	}
	all, err := load(file)
	if err != nil {
		return err
	}
	maps.Copy(all, r.results)
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func load(file string) (map[string]result, error) {
	all := map[string]result{}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return all, nil
}

// sample is a set of durations of the same thing.
type sample []time.Duration

// percentile gives the duration in milliseconds that p percent do not exceed.
func (s sample) percentile(p int) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	i := (len(sorted)*p + 99) / 100
	return float64(sorted[max(i, 1)-1].Microseconds()) / 1000
}
