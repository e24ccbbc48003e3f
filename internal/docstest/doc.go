// Package docstest types what the documentation tells people to type. Its test reads README.md, docs/guides and examples/*/README.md,
// runs each fenced block of commands against all of Towpath and a real cluster, and compares what comes back with what the page shows:
// the text is the test. A wrong command, or an answer that has changed, fails with the page's line and a difference.
//
// What a page may say in the info string of a block:
//
//	```sh                       a script; each of its commands must succeed
//	```console                  commands after "$ ", each with its answer; a line "..." leaves lines out, "..." in a line leaves text out
//	```yaml file=NAME           the page tells to write this file
//	```console retry            asked again until the answer is the one shown, for what happens by itself
//	```console stream           runs beside the blocks that follow, until all that is shown has come
//	```sh serve                 servers that run until the page ends
//	```sh no-test="REASON"      cannot be run here, and why; the number of these is in the test
//
// A comment "<!-- instead" has what is typed in the place of a block that cannot be, such as the installation of what is installed
// otherwise here. A comment "<!-- typed" before a table has its commands typed, each to succeed.
//
// In an answer, times, durations, digests, identifiers and widths of columns may differ. A digest that a page shows twice must be the
// same twice.
//
// This file's package is the reader and the comparison, which know nothing of Towpath; the tests have the world in which pages run.
package docstest
