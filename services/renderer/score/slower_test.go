//go:build !race

package score_test

// slower is how much slower this build is than what users run.
const slower = 1
