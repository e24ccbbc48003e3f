package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

var testFields = []rules.FilterField{
	{Name: "actor"},
	{Name: "state", Values: []string{"FAILED", "HEALTHY"}},
	{Name: "resource", Kind: rules.NameField},
	{Name: "time", Kind: rules.TimeField},
}

func TestFilterHoldsForTheRowsItDescribes(t *testing.T) {
	row := map[string]rules.FilterValue{
		"actor": rules.FilterText(`users/ada "the first"`), "state": rules.FilterText("FAILED"),
		"resource": rules.FilterText("applications/shop/environments/dev"),
		"time":     rules.FilterTime(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)),
	}
	for _, tc := range []struct {
		filter string
		want   bool
	}{
		{"", true},
		{" \n\t", true},
		{`state = FAILED`, true},
		{`state="FAILED"`, true},
		{`state != FAILED`, false},
		{`state = HEALTHY`, false},
		{`actor = "users/ada \"the first\""`, true},
		{`actor = users/ada`, false},
		{`actor != users/ada`, true},
		{`resource = applications/shop`, true},
		{`resource = "applications/shop/"`, true},
		{`resource = applications/sho`, false},
		{`resource != applications/shop`, false},
		{`resource != applications/other`, true},
		{`time >= "2026-01-31"`, true},
		{`time < 2026-01-31`, false},
		{`time = "2026-01-31T13:00:00+01:00"`, true},
		{`time > 2026-01-31T12:00:00Z`, false},
		{`time <= 2026-01-31T12:00:00Z AND time != 2026-01-31T12:00:00Z`, false},
		{`state = FAILED AND time > 2026-01-30 AND resource = applications`, true},
		{`state = FAILED AND actor = nobody`, false},
	} {
		t.Run(tc.filter, func(t *testing.T) {
			f, err := rules.ParseFilter(tc.filter, testFields)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Match(func(field string) rules.FilterValue { return row[field] }); got != tc.want {
				t.Errorf("match = %t, want %t", got, tc.want)
			}
		})
	}
}

func TestFilterThatCannotBeReadSaysWhere(t *testing.T) {
	for filter, problem := range map[string]string{
		`colour = "red"`:                 "at character 7",
		`actor`:                          "operator is expected",
		`actor =`:                        "value is expected",
		`actor = "ada`:                   "does not end",
		`actor ~ ada`:                    "operator is expected",
		`actor > ada`:                    "= and != only",
		`actor = ada state = FAILED`:     "AND is expected",
		`actor = ada and state = FAILED`: "AND is expected",
		`actor = ada OR state = FAILED`:  "AND is expected",
		`actor = ada AND`:                "a field is expected",
		`AND`:                            "no field",
		`= ada`:                          "a field is expected",
		`(actor = ada)`:                  "a field is expected",
		`state = BROKEN`:                 "FAILED, HEALTHY",
		`time > yesterday`:               "no time",
		strings.Repeat("actor != a AND ", 40) + `actor = b`: "more than 32",
	} {
		_, err := rules.ParseFilter(filter, testFields)
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), problem) || !strings.Contains(err.Error(), "filter: ") {
			t.Errorf("%s: error = %v, want one for the field filter with %q", filter, err, problem)
		}
	}
}

func TestFilterGivesBoundsForLists(t *testing.T) {
	f, err := rules.ParseFilter(`time >= 2026-01-02 AND time > 2026-01-01 AND time < 2026-02-01 AND state = FAILED AND actor != x`, testFields)
	if err != nil {
		t.Fatal(err)
	}
	from, to := f.Between("time")
	if from.Format(time.DateOnly) != "2026-01-02" || to.Format(time.DateOnly) != "2026-02-01" {
		t.Errorf("between = %s and %s", from, to)
	}
	if s, ok := f.Only("state"); !ok || s != "FAILED" {
		t.Errorf("only = %q %t", s, ok)
	}
	if _, ok := f.Only("actor"); ok {
		t.Error("a term with != was taken for =")
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", `actor = "a\"b" AND time >= 2026-01-31`, `state=FAILED`, `resource != x/y/`, `time < "2026-01-31T00:00:00.123456789+02:00"`, "actor = \"\\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := rules.ParseFilter(text, testFields)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("error of kind %s: %v", errs.KindOf(err), err)
			}
			return
		}
		again, err := rules.ParseFilter(got.String(), testFields)
		if err != nil || again.String() != got.String() {
			t.Fatalf("%q is written %q and that is read as %q: %v", text, got, again, err)
		}
		row := func(string) rules.FilterValue {
			return rules.FilterValue{Text: "applications/shop", Time: time.Unix(1_770_000_000, 0)}
		}
		if got.Match(row) != again.Match(row) {
			t.Fatalf("%q and %q hold for different rows", text, got)
		}
	})
}
