package git

import (
	"io"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	// maxFetch is Config.MaxFetch's default.
	maxFetch = 2 << 30
	// maxFetched is the largest object that is fetched. A folder of 1,000,000 entries has 40 MB; a larger file can be in the
	// repository, and is not read.
	maxFetched = 256 << 20
)

func mostOf(cfg Config) int64 {
	if cfg.MaxFetch > 0 {
		return cfg.MaxFetch
	}
	return maxFetch
}

// inflated bounds what a fetched pack may come to: trees compress less than tenfold, text hardly better.
func inflated(packed int64) int64 { return 1<<30 + 100*packed }

// capped ends a fetch that does not end by itself.
type capped struct {
	w    io.Writer
	left int64
}

// Write refuses what is over the cap.
func (c *capped) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE,
			"the Git host sends more than this committer takes in one fetch; is the repository's address right?")
	}
	return c.w.Write(p)
}
