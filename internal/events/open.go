package events

import "context"

// OpenSubject gives the subject of the differences that drift has told of an environment and that still stand:
// towpath.open.<app>.<env>.
func OpenSubject(app, env string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixOpen + app + "." + env, nil
}

// LastOpen gives what was last told of an environment; false when nothing was. Errors: Unavailable when nobody can tell now, Denied
// where the credential may not read it.
func (b *Bus) LastOpen(ctx context.Context, subject string) (Delivery, bool, error) {
	return b.last(ctx, StreamOpen, subject, "read what was told of an environment")
}
