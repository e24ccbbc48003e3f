package rules

import "time"

// budgetWindow is what a push budget counts in.
const budgetWindow = time.Minute

// Budget spaces the pushes to one branch. It is a sliding window: in no minute are there more than n. The first half of them go at
// once, so that a quiet branch never waits; what comes on top is spread evenly, so that a busy one pushes at a steady pace instead
// of using everything up and standing still. The zero value has used nothing.
type Budget struct {
	sent    []time.Time
	imposed time.Time
}

// Next gives when the next push may go; a time that is not after now means at once. n is the budget per minute, 0 for no limit.
func (b *Budget) Next(n int, now time.Time) time.Time {
	next := b.imposed
	if n <= 0 {
		return next
	}
	var recent []time.Time
	for _, at := range b.sent {
		if now.Sub(at) < budgetWindow {
			recent = append(recent, at)
		}
	}
	b.sent = recent
	if len(recent) >= n {
		next = later(next, recent[len(recent)-n].Add(budgetWindow))
	}
	if len(recent) > 0 && len(recent) >= (n+1)/2 {
		next = later(next, recent[len(recent)-1].Add(budgetWindow/time.Duration(n)))
	}
	return next
}

// Spend notes a push. The host counts those that failed, too.
func (b *Budget) Spend(now time.Time) {
	b.sent = append(b.sent, now)
	if len(b.sent) > 10_000 { // a branch without a budget asks for no Next that would forget them
		b.sent = b.sent[len(b.sent)/2:]
	}
}

// Impose notes that the host wants no requests until then. An earlier wish of it stays when it reaches further.
func (b *Budget) Impose(until time.Time) { b.imposed = later(b.imposed, until) }

// Imposed gives until when the host wants no requests; the zero time when it never said so.
func (b *Budget) Imposed() time.Time { return b.imposed }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Left gives how many pushes of n may still go in the minute that ends now; -1 where n is no limit and the host imposes nothing.
func (b *Budget) Left(n int, now time.Time) int {
	if b.imposed.After(now) {
		return 0
	}
	if n <= 0 {
		return -1
	}
	for _, at := range b.sent {
		if now.Sub(at) < budgetWindow {
			n--
		}
	}
	return max(0, n)
}
