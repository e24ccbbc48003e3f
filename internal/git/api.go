package git

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Hash is a Git object id (SHA-1). The zero value means "nothing": no commit on a branch, no tree.
type Hash = plumbing.Hash

// ZeroHash is the absence of an object: the Old of a push that creates a branch, the tip of an empty one.
var ZeroHash = plumbing.ZeroHash

// EmptyTree is the id of the tree without entries; it is what an empty repository's root amounts to.
var EmptyTree = plumbing.NewHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// NewHash reads 40 hexadecimal digits; anything else gives the zero Hash.
func NewHash(s string) Hash {
	var h Hash
	if len(s) != hex.EncodedLen(len(h)) {
		return ZeroHash
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return ZeroHash
	}
	return h
}

// Mode is the mode of a tree entry.
type Mode = filemode.FileMode

// The modes that Towpath writes. Entries of other modes (symbolic links, executables, submodules) that somebody else
// committed are kept as they are.
const (
	ModeFile = filemode.Regular
	ModeDir  = filemode.Dir
)

// MaxPush is the largest pack in bytes that Push sends and the smart HTTP server accepts, unless configured otherwise.
const MaxPush int64 = 64 << 20

// Entry is one line of a tree.
type Entry struct {
	Name string
	Mode Mode
	Hash Hash
}

// IsDir tells a subtree from everything else.
func (e Entry) IsDir() bool { return e.Mode == filemode.Dir }

// TreeReader gives trees in Git's own encoding. The bytes are shared: they must not be changed. The zero Hash and EmptyTree
// give no bytes. A tree that cannot be had is ErrMissing.
type TreeReader interface {
	RawTree(ctx context.Context, h Hash) ([]byte, error)
}

// Reader reads objects. All its methods are safe for concurrent use; an object that is not there, and cannot be fetched
// either, is ErrMissing.
type Reader interface {
	TreeReader
	// Tree gives the entries of a tree in Git's order.
	Tree(ctx context.Context, h Hash) ([]Entry, error)
	// Blob gives a file's content. The bytes are shared: they must not be changed.
	Blob(ctx context.Context, h Hash) ([]byte, error)
	// Commit gives a commit.
	Commit(ctx context.Context, h Hash) (Commit, error)
}

// Remote is one repository that others write too. Reading is safe for concurrent use; Fetch and Push of one Remote are
// serialised inside.
type Remote interface {
	Reader
	// Fetch gives the tip of a branch, the zero Hash when the branch or the whole repository is empty, and makes the tip's
	// commit and trees readable. Errors: errs.Unavailable when the repository cannot be reached (retry), errs.Unauthenticated,
	// errs.Denied and errs.NotFound as the host says.
	Fetch(ctx context.Context, branch string) (Hash, error)
	// Push moves branch from old to new by a compare-and-swap at the server and sends exactly the objects of objs. A zero old
	// creates the branch. nil means durable at the server. Errors:
	//   - ErrMoved: old is not the tip (errs.Conflict, REASON_PUSH_CONFLICT). Nothing was written; fetch, rebuild, push again.
	//   - ErrUnknown: the answer was lost (errs.Timeout). It may have happened, or may still happen: fetch and look for what
	//     the commit wrote. Pushing again with the same old is safe, because only one of the two can move the branch.
	//   - *Refused: the host said no (errs.Precondition, REASON_PUSH_REFUSED), for example a protected branch, a hook,
	//     credentials or an object that is not there. The same push will not work.
	//   - errs.Unavailable: it did not happen and may work later.
	//   - errs.Invalid with REASON_TOO_LARGE: the pack is over the cap; split the batch.
	Push(ctx context.Context, branch string, old, new Hash, objs *ObjectSet) error
	// Close gives back connections, files and locks. The Remote is not usable afterwards.
	Close() error
}

// Credentials gives the user and password (or token) for HTTP Basic authentication. It is asked once per request, so a
// short-lived token may be renewed inside. Two empty strings mean no authentication, an empty user a bearer token.
type Credentials func(ctx context.Context) (user, password string, err error)

// Hooks let the composition root stop the process at the boundaries of a push, to prove that nothing is lost there. Both
// are optional.
type Hooks struct {
	// PackSent is called when the new objects are durable (local repository) or about to be sent with the reference update
	// (HTTP), and the branch has not moved by our knowledge.
	PackSent func()
	// RefMoved is called when the branch has moved durably, before Push returns.
	RefMoved func()
}

// Config says which repository to open and how.
type Config struct {
	// URL is embedded:///name (a repository of Repos; folders are allowed in the name), http://…, https://…, ssh://user@host/…
	// or user@host:…. It must carry no password, and an http(s) URL no user either.
	URL string
	ssh sshAddress // of an SSH URL, by Open
	// Repos holds the embedded repositories. Needed for an embedded URL only.
	Repos *Repos
	// Dir is the folder for disposable mirrors of HTTP(S) remotes; each remote takes a folder of its own inside. One process
	// may use it at a time.
	Dir string
	// Credentials may be nil: no authentication.
	Credentials Credentials
	// SSH is the login of an SSH URL; without it nobody gets in.
	SSH SSHCredentials
	// Client is the HTTP client; nil means a shared one with keep-alive. Its Timeout should be zero: contexts rule.
	Client *http.Client
	// Timeout is the deadline of one session (fetch or push) in addition to the context's. Zero means a minute.
	Timeout time.Duration
	// MaxPush caps a push in bytes; zero means the constant MaxPush.
	MaxPush int64
	// Hooks are for tests that kill the process.
	Hooks Hooks
	// Log may be nil.
	Log *slog.Logger
}
