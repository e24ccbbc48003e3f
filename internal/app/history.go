package app

import (
	"net/url"
	"path/filepath"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/history"
	"github.com/towpath-dev/towpath/internal/history/filehist"
	"github.com/towpath-dev/towpath/internal/history/s3hist"
)

// openHistory opens the place of old history that the configuration names. Keys of an object store are in no flag: they come from
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's own identity. It is nil where history stays in the store.
func (p *process) openHistory() (history.Store, error) {
	switch {
	case p.History == "" && p.etcd != nil:
		return nil, nil // a folder of this process's own would hide from the others what it has moved
	case p.History == "":
		return filehist.Open(filepath.Join(p.DataDir, "catalog", "history"))
	case !strings.HasPrefix(p.History, "s3://"):
		return filehist.Open(p.History)
	}
	u, err := url.Parse(p.History)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errs.InvalidField("--history", "is no address of the form s3://BUCKET/PREFIX?endpoint=HOST:PORT&region=REGION")
	}
	q := u.Query()
	endpoint := q.Get("endpoint")
	if endpoint == "" {
		endpoint = "s3.amazonaws.com"
	}
	prefix := strings.TrimPrefix(u.Path, "/")
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	s, err := s3hist.Open(s3hist.Config{
		Endpoint: endpoint, Plain: q.Get("plain") == "true", Region: q.Get("region"), Bucket: u.Host, Prefix: prefix,
	})
	if err != nil {
		return nil, errs.InvalidField("--history", "%v", err)
	}
	return s, nil
}
