package portal

import (
	"bytes"
	"fmt"
	"path"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/css"
	"github.com/tdewolff/minify/v2/js"
)

// shrink gives a script or a style sheet as it is served: without comments and with short local names. The files are written for
// people; a browser that loads them over a slow line needs neither. There is no build step: it takes milliseconds, once a process.
// Other files are given as they are.
func shrink(name string, body []byte) ([]byte, error) {
	var m minify.Minifier
	switch path.Ext(name) {
	case ".js":
		m = &js.Minifier{}
	case ".css":
		m = &css.Minifier{}
	default:
		return body, nil
	}
	var out bytes.Buffer
	if err := m.Minify(minify.New(), &out, bytes.NewReader(body), nil); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}
