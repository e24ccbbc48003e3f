package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// definitionArchives has the id of the SHA-256 in hex: charts and bases, which definition versions name by it. They are rows of their
// own because a version is read, listed and answered again and again, and because a transaction of an engine has less room than an
// archive, a version and its audit event need together. Rows are never changed or removed, as those of versions.
var definitionArchives = store.NewTable[*wrapperspb.BytesValue]("definitionArchives/")

// maxLoadedArchives is how many bytes of archives are kept in memory.
const maxLoadedArchives = 64 << 20

// archiveCache keeps archives by digest.
type archiveCache struct {
	bytes map[string][]byte
	size  int
}

// storeArchive writes the archive of a version that will be written, and takes it out of the content.
func (s *Service) storeArchive(ctx context.Context, content *rendererv1.ResourceDefinition) error {
	data := content.GetArchive()
	if len(data) == 0 {
		return nil
	}
	content.Archive = nil
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	var tx store.Tx
	if err := definitionArchives.Create(&tx, digest, wrapperspb.Bytes(data)); err != nil {
		return err
	}
	_, err := s.cfg.KV.Commit(ctx, tx)
	if errors.Is(err, store.ErrConflict) { // the same is there already
		_, err = definitionArchives.Get(ctx, s.cfg.KV, digest)
	}
	return err
}

// withArchive gives the content with its archive. The content itself stays as it is.
func (s *Service) withArchive(ctx context.Context, content *rendererv1.ResourceDefinition) (*rendererv1.ResourceDefinition, error) {
	digest := rules.ArchiveDigest(content)
	if digest == "" || len(content.GetArchive()) > 0 {
		return content, nil
	}
	data, err := s.archiveBytes(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("archive of %s: %w", content.GetName(), err)
	}
	return &rendererv1.ResourceDefinition{
		Name: content.GetName(), Type: content.GetType(), Class: content.GetClass(), Driver: content.GetDriver(),
		Inputs: content.GetInputs(), Criteria: content.GetCriteria(), Archive: data,
	}, nil
}

func (s *Service) archiveBytes(ctx context.Context, digest string) ([]byte, error) {
	c := &s.definitions
	c.mu.Lock()
	data := c.archives.bytes[digest]
	c.mu.Unlock()
	if data != nil {
		return data, nil
	}
	row, err := definitionArchives.Get(ctx, s.cfg.KV, digest)
	if err != nil {
		return nil, err
	}
	data = row.Msg.GetValue()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.archives.size += len(data); c.archives.bytes == nil || c.archives.size > maxLoadedArchives {
		c.archives = archiveCache{bytes: map[string][]byte{}, size: len(data)}
	}
	c.archives.bytes[digest] = data
	return data, nil
}
