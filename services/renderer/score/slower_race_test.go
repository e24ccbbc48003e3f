//go:build race

package score_test

// slower is how much slower the race detector makes everything.
const slower = 10
