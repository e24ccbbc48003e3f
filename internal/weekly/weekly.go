// Package weekly knows times of every week, "Fri 16:00 - Mon 08:00", by the clocks on the wall of a time zone. It is pure: freeze windows
// and sync windows go by it, in services that do not know each other, and must mean the same.
package weekly

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Window is a time of the week.
type Window struct{ from, to wallTime }

type wallTime struct {
	day          time.Weekday
	hour, minute int
}

var (
	pattern  = regexp.MustCompile(`^\s*([A-Za-z]{3})\s+(\d{1,2}):(\d{2})\s*-\s*([A-Za-z]{3})\s+(\d{1,2}):(\d{2})\s*$`)
	weekdays = map[string]time.Weekday{
		"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
	}
)

// Parse reads a time of the week. Its error says what is wrong with the text, which it quotes.
func Parse(s string) (Window, error) {
	wrong := fmt.Errorf("%s is no time of the week; write it as \"Fri 16:00 - Mon 08:00\"", quote(s))
	m := pattern.FindStringSubmatch(s)
	if m == nil {
		return Window{}, wrong
	}
	from, okFrom := parseWall(m[1], m[2], m[3])
	to, okTo := parseWall(m[4], m[5], m[6])
	if !okFrom || !okTo {
		return Window{}, wrong
	}
	if from == to {
		return Window{}, fmt.Errorf("%s begins and ends at the same time; lock the environment to hold it at all times", quote(s))
	}
	return Window{from, to}, nil
}

func parseWall(day, hour, minute string) (wallTime, bool) {
	d, ok := weekdays[strings.ToLower(day)]
	h, err1 := strconv.Atoi(hour)
	m, err2 := strconv.Atoi(minute)
	return wallTime{d, h, m}, ok && err1 == nil && err2 == nil && h < 24 && m < 60
}

// maxQuoted is how much of a text that cannot be read is repeated.
const maxQuoted = 80

func quote(s string) string {
	if r := []rune(s); len(r) > maxQuoted {
		s = string(r[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}

// Zone finds a time zone; UTC for the empty name. The machine's own is none: what a window means must not depend on where the
// server runs.
func Zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("the machine's own time zone")
	}
	return time.LoadLocation(name)
}

// Until reports whether a moment is in the window, and when that ends. The window is as much longer or shorter as the week in which the
// clocks are changed. A time that does not exist or exists twice that night makes the window the longer one.
func (w Window) Until(now time.Time, loc *time.Location) (until time.Time, in bool) {
	for _, days := range []int{0, 7} { // the begin of today may be later than now, so the week before counts too
		if begin, end := w.at(now, -days, loc); !now.Before(begin) && now.Before(end) {
			return end, true
		}
	}
	return time.Time{}, false
}

// Next is when the window begins next, after a moment.
func (w Window) Next(now time.Time, loc *time.Location) time.Time {
	for days := 0; ; days += 7 {
		if begin, _ := w.at(now, days, loc); begin.After(now) {
			return begin
		}
	}
}

// at gives begin and end of the window in the week of a moment, so many days away.
func (w Window) at(now time.Time, days int, loc *time.Location) (begin, end time.Time) {
	y, m, d := now.In(loc).Date()
	back := (int(now.In(loc).Weekday()) - int(w.from.day) + 7) % 7
	begin = onTheWall(y, m, d-back+days, w.from, loc, false)
	return begin, onTheWall(y, m, d-back+days+w.days(), w.to, loc, true)
}

// days is how many days after the begin the end is.
func (w Window) days() int {
	n := (int(w.to.day) - int(w.from.day) + 7) % 7
	if n == 0 && w.to.hour*60+w.to.minute <= w.from.hour*60+w.from.minute {
		return 7
	}
	return n
}

// onTheWall gives the moment at which the clocks of a zone show a time: of two the later or the earlier one, and of none the
// moments that it would be by the clocks before and after the change.
func onTheWall(y int, m time.Month, d int, at wallTime, loc *time.Location, later bool) time.Time {
	naive := time.Date(y, m, d, at.hour, at.minute, 0, 0, time.UTC)
	var all, real []time.Time
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := naive.Add(near).In(loc).Zone()
		t := naive.Add(-time.Duration(offset) * time.Second)
		all = append(all, t)
		if local := t.In(loc); local.Hour() == at.hour && local.Minute() == at.minute && local.Day() == naive.Day() {
			real = append(real, t)
		}
	}
	if len(real) > 0 {
		all = real
	}
	out := all[0]
	for _, t := range all[1:] {
		if t.After(out) == later && !t.Equal(out) {
			out = t
		}
	}
	return out
}
