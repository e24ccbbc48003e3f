package committer

import (
	"context"
	"log/slog"
)

// redacting is a log handler that takes secrets out of everything that is logged: hosts repeat what they were sent, and their
// words end in errors.
type redacting struct {
	inner  slog.Handler
	redact func(string) string
}

// Enabled asks the handler behind.
func (h redacting) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

// Handle passes a record on without secrets.
func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.clean(a))
		return true
	})
	return h.inner.Handle(ctx, clean)
}

// WithAttrs keeps attributes, without secrets.
func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = h.clean(a)
	}
	return redacting{inner: h.inner.WithAttrs(out), redact: h.redact}
}

// WithGroup opens a group.
func (h redacting) WithGroup(name string) slog.Handler {
	return redacting{inner: h.inner.WithGroup(name), redact: h.redact}
}

func (h redacting) clean(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, h.redact(v.String()))
	case slog.KindGroup:
		var out []any
		for _, g := range v.Group() {
			out = append(out, h.clean(g))
		}
		return slog.Group(a.Key, out...)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			return slog.String(a.Key, h.redact(x.Error()))
		case interface{ String() string }:
			return slog.String(a.Key, h.redact(x.String()))
		}
	}
	return a
}
