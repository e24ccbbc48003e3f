package definition

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"
	"text/template"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	symbols = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// Limits of the random functions of one resource.
const (
	maxRandom      = 1024
	maxRandomCalls = 1000
)

// alphabets are what the functions that make text choose from.
var alphabets = map[string]string{
	"randAlpha": upper + lower, "randAlphaNum": upper + lower + digits, "randNumeric": digits, "randAscii": upper + lower + digits + symbols,
}

// provisionerFunctions are what a provisioner can call: the functions of other templates, and the random ones of Sprig. These stand
// for themselves here; each execution has its own.
var provisionerFunctions = sync.OnceValue(func() template.FuncMap {
	out := makeFunctions()
	maps.Copy(out, (&randomSource{}).functions())
	return out
})

// randomCall is one value that was made up.
type randomCall struct{ function, value string }

// randomSource answers random functions from the resource's uid and its environment, call by call in order: the same rendering gives
// the same, another environment something else.
type randomSource struct {
	seed string
	// other are the calls that answer something else than they usually do.
	other map[int]bool
	calls []randomCall
}

func newRandomSource(req *Request, other map[int]bool) *randomSource {
	return &randomSource{seed: strings.Join([]string{req.Application, req.Environment, req.Uid}, "\n"), other: other}
}

func (r *randomSource) functions() template.FuncMap {
	out := template.FuncMap{
		"randInt": func(low, high int) (int, error) {
			if high <= low {
				return 0, fmt.Errorf("randInt needs a range, and %d to %d is none", low, high)
			}
			next, note, err := r.next("randInt")
			if err != nil {
				return 0, err
			}
			n := low + int(next()%uint64(high-low))
			note(fmt.Sprint(n))
			return n, nil
		},
		"randBytes": func(n int) (string, error) {
			return r.text("randBytes", n, func(next func() uint64) string {
				b := make([]byte, n)
				for i := range b {
					b[i] = byte(next())
				}
				return base64.StdEncoding.EncodeToString(b)
			})
		},
		"uuidv4": func() (string, error) {
			return r.text("uuidv4", 36, func(next func() uint64) string {
				b := make([]byte, 16)
				binary.BigEndian.PutUint64(b, next())
				binary.BigEndian.PutUint64(b[8:], next())
				b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
				s := hex.EncodeToString(b)
				return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
			})
		},
	}
	for name, alphabet := range alphabets {
		out[name] = func(n int) (string, error) {
			return r.text(name, n, func(next func() uint64) string {
				b := make([]byte, n)
				for i := range b {
					b[i] = alphabet[next()%uint64(len(alphabet))]
				}
				return string(b)
			})
		}
	}
	return out
}

func (r *randomSource) text(function string, n int, write func(next func() uint64) string) (string, error) {
	if n < 0 || n > maxRandom {
		return "", fmt.Errorf("%s makes at most %d characters", function, maxRandom)
	}
	next, note, err := r.next(function)
	if err != nil {
		return "", err
	}
	text := write(next)
	note(text)
	return text, nil
}

// next begins a call: it gives the numbers of its stream, and notes what is made of them.
func (r *randomSource) next(function string) (next func() uint64, note func(string), err error) {
	at := len(r.calls)
	if at >= maxRandomCalls {
		return nil, nil, fmt.Errorf("random functions are called more than %d times", maxRandomCalls)
	}
	r.calls = append(r.calls, randomCall{function: function})
	seed := fmt.Sprintf("%s\n%s\n%d\n%t\n", r.seed, function, at, r.other[at])
	var block [sha256.Size]byte
	n := 0
	next = func() uint64 {
		if n%4 == 0 {
			block = sha256.Sum256(fmt.Append([]byte(seed), n/4))
		}
		v := binary.BigEndian.Uint64(block[n%4*8:])
		n++
		return v
	}
	return next, func(value string) { r.calls[at].value = value }, nil
}
