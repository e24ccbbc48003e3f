// Package git is Towpath's port to Git: it reads trees and files, builds commits in memory and moves branches by
// compare-and-swap. It knows nothing of applications, environments or deployments; the committer service does.
//
// What belongs here: object ids and encodings (objects.go, commit.go), splicing trees (splice.go), path rules (path.go),
// the pack files of our own object store (pack*.go, store.go, repack.go), embedded bare repositories (repos.go, refs.go,
// local.go), HTTP(S) remotes with their disposable mirrors (pktline.go, client*.go, mirror*.go) and the smart HTTP server for
// embedded repositories (server*.go). The wire formats are those of go-git's plumbing where it has them.
//
// Why our own store: go-git's file transport executes git, its reference writes are neither atomic nor durable, and its
// storage is not safe for concurrent use. Packs here are written, fsynced and renamed before a reference names them.
//
// What breaks when this is changed carelessly: a deployment's identity is a tree id, so TreeID must equal `git write-tree`;
// exactly-once depends on Push never answering nil or ErrMoved without knowing it.
package git
