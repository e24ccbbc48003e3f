// Package s3hist keeps the segments of history as objects of an S3-compatible object store.
package s3hist

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/history"
)

// Config says where the objects are. Bucket and Endpoint are required.
type Config struct {
	// Endpoint is host or host:port of the object store, without a scheme.
	Endpoint string
	// Plain uses HTTP instead of HTTPS, for a store on the same machine.
	Plain bool
	// Region of the bucket; asked from the store when empty.
	Region string
	// Bucket must exist.
	Bucket string
	// Prefix stands before the names of the objects, such as "towpath/".
	Prefix string
	// AccessKey and SecretKey; when empty, the environment's (AWS_ACCESS_KEY_ID …) and then the machine's own identity.
	AccessKey, SecretKey string
	// Transport is used instead of HTTP's default; for tests.
	Transport http.RoundTripper
}

// Store is a bucket of segments. Make it with Open.
type Store struct {
	client         *minio.Client
	bucket, prefix string
}

var _ history.Store = (*Store)(nil)

// Open makes the client. It does no I/O: whether the bucket is there shows at the first use.
func Open(cfg Config) (*Store, error) {
	var bad []errs.Field
	if cfg.Endpoint == "" || strings.Contains(cfg.Endpoint, "/") {
		bad = append(bad, errs.Field{Path: "endpoint", Problem: "give host or host:port, without a scheme"})
	}
	if cfg.Bucket == "" {
		bad = append(bad, errs.Field{Path: "bucket", Problem: "is empty; give the name of a bucket that exists"})
	}
	if len(bad) > 0 {
		return nil, errs.InvalidFields(bad...)
	}
	creds := credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	if cfg.AccessKey == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.IAM{}})
	}
	client, err := minio.New(cfg.Endpoint, &minio.Options{Creds: creds, Secure: !cfg.Plain, Region: cfg.Region, Transport: cfg.Transport})
	if err != nil {
		return nil, errs.InvalidField("endpoint", "%v", err)
	}
	return &Store{client: client, bucket: cfg.Bucket, prefix: cfg.Prefix}, nil
}

// Put implements history.Store. An object appears when all of it is there, and stays: that is what object stores promise.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return err
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		ContentType: "application/octet-stream", SendContentMd5: true,
	})
	return s.failed(ctx, name, "write "+name, err)
}

// Read implements history.Store.
func (s *Store) Read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return nil, err
	}
	if length == 0 {
		return nil, nil
	}
	var opts minio.GetObjectOptions
	if err := opts.SetRange(offset, offset+length-1); err != nil {
		return nil, errs.InvalidField("offset", "%v", err)
	}
	o, err := s.client.GetObject(ctx, s.bucket, s.prefix+name, opts)
	if err != nil {
		return nil, s.failed(ctx, name, "read "+name, err)
	}
	defer func() { _ = o.Close() }() // it was only read
	out := make([]byte, length)
	if _, err := io.ReadFull(o, out); err != nil {
		return nil, s.failed(ctx, name, "read "+name, err)
	}
	return out, nil
}

// List implements history.Store.
func (s *Store) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the listing when we leave early
	defer cancel()
	var names []string
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s.failed(ctx, "", "list its segments", o.Err)
		}
		if name := strings.TrimPrefix(o.Key, s.prefix); history.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements history.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(history.CheckName(name), ctx.Err()); err != nil {
		return err
	}
	err := s.failed(ctx, name, "remove "+name, s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}))
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// failed turns the client's error into one of ours.
func (s *Store) failed(ctx context.Context, name, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return history.NotFound(name, err)
	}
	switch minio.ToErrorResponse(err).Code {
	case minio.NoSuchKey, minio.InvalidRange:
		return history.NotFound(name, err)
	}
	return history.Unavailable(what, err)
}
