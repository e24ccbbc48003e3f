package catalog

import (
	"context"
	"regexp"
	"strings"

	"google.golang.org/grpc/metadata"
)

// originHeader is how a client says what it is. It is told in history and decides nothing.
const originHeader = "x-towpath-origin"

var originPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// originOf tells by which way a call came: what the client says, else tow by its user agent, else api.
func originOf(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, originHeader); len(v) > 0 && originPattern.MatchString(v[0]) {
		return v[0]
	}
	if v := metadata.ValueFromIncomingContext(ctx, "user-agent"); len(v) > 0 && strings.HasPrefix(v[0], "tow/") {
		return "cli"
	}
	return "api"
}
