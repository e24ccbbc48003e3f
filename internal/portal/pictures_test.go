package portal_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	imagesFolder = "../../docs/images"
	// imagesIndex says of each picture what the page said when it was taken.
	imagesIndex = imagesFolder + "/pictures.json"
	maxPicture  = 100 << 10
)

// pictureTime is what the clock shows in all pictures.
var pictureTime = time.Date(2026, time.May, 12, 10, 0, 30, 0, time.UTC)

// taken is what stands in the index about a picture.
type taken struct {
	// Text is a digest of what the page says: when that changes, the picture is old.
	Text string `json:"text"`
	// Width and Height are in pixels.
	Width  int `json:"width"`
	Height int `json:"height"`
}

// looksOf are the pictures of a page: its own and, of the environment, those that show other windows and colours.
func looksOf(pg portalPage) map[string]int {
	out := map[string]int{pg.picture: 0}
	if pg.picture == "environment" {
		out["phone"], out["dark"] = 2, 1
	}
	return out
}

// TestInABrowserThePicturesOfTheDocumentationAreFresh takes every picture anew and compares what can be compared on any machine: that
// it is one, its size, and what the page says in it. With UPDATE=1 it writes them to docs/images.
func TestInABrowserThePicturesOfTheDocumentationAreFresh(t *testing.T) {
	index := map[string]taken{}
	if b, err := os.ReadFile(imagesIndex); err == nil {
		if err := json.Unmarshal(b, &index); err != nil {
			t.Fatal(err)
		}
	}
	update := os.Getenv("UPDATE") != ""
	var mu sync.Mutex
	fresh := map[string]taken{}
	t.Run("pages", func(t *testing.T) {
		for _, pg := range portalPages {
			if pg.picture == "" {
				continue
			}
			t.Run(pg.name, func(t *testing.T) {
				t.Parallel()
				p := pose(t, pg)
				for name, look := range looksOf(pg) {
					now, says, picture := p.picture(look)
					// A busy machine draws the last of it later than what the page was waited for.
					for end := time.Now().Add(20 * time.Second); !update && now != index[name] && time.Now().Before(end); {
						time.Sleep(300 * time.Millisecond)
						now, says, picture = p.picture(look)
					}
					mu.Lock()
					fresh[name] = now
					mu.Unlock()
					file := filepath.Join(imagesFolder, name+".png")
					if update {
						if err := os.WriteFile(file, picture, 0o600); err != nil {
							t.Fatal(err)
						}
					} else if index[name] != now {
						t.Errorf("%s shows the page as it was: run `make images`. Its index has %+v, the page is %+v and says:\n%s", file, index[name], now, says)
					}
					checkPicture(t, file, now)
				}
				p.clean()
			})
		}
	})
	if update {
		b, err := json.MarshalIndent(fresh, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(imagesIndex, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		index = fresh
	}
	if left := slices.DeleteFunc(slices.Collect(maps.Keys(index)), func(n string) bool { _, ok := fresh[n]; return ok }); len(left) > 0 {
		t.Errorf("%s has pictures that no page is of: %v", imagesIndex, left)
	}
}

// TestEveryPictureIsShownInTheDocumentation also finds files that nobody needs.
func TestEveryPictureIsShownInTheDocumentation(t *testing.T) {
	var text strings.Builder
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/guides/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(b)
		}
	}
	files, err := filepath.Glob(imagesFolder + "/*.png")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, pg := range portalPages {
		if pg.picture != "" {
			for name := range looksOf(pg) {
				wanted[name+".png"] = true
			}
		}
	}
	for _, f := range files {
		name := filepath.Base(f)
		if !strings.Contains(text.String(), "images/"+name) {
			t.Errorf("no page of the documentation shows %s", name)
		}
		if !wanted[name] {
			t.Errorf("no test takes %s any more; remove it", name)
		}
		delete(wanted, name)
	}
	for name := range wanted {
		t.Errorf("docs/images/%s is missing: run `make images`", name)
	}
}

// stopped makes a page's clock stand still.
var stopped = fmt.Sprintf(`(() => {
	const Real = Date, at = %d;
	globalThis.Date = class extends Real {
		constructor(...a) { if (a.length) super(...a); else super(at); }
		static now() { return at; }
	};
})()`, pictureTime.Add(2500*time.Millisecond).UnixMilli())

// pose opens a page as it is for its picture: the same clock, place and window each time.
func pose(t *testing.T, pg portalPage) *page {
	t.Helper()
	shop := pg.shop
	if shop == nil {
		shop = newShop
	}
	began := time.Now()
	s := shop(t)
	s.front = func(next http.Handler) http.Handler { return moved(next, pictureTime.Sub(began)) }
	p := open(t, serve(t, s).URL)
	if _, err := chromedp.Call(p.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(p.ctx, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: "en-GB"}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(p.ctx, cdpage.AddScriptToEvaluateOnNewDocument, cdpage.AddScriptToEvaluateOnNewDocumentParams{Source: stopped}); err != nil {
		t.Fatal(err)
	}
	if !pg.stranger {
		p.signIn(adminToken)
	}
	p.do(chromedp.Navigate(p.base+"/docs"), chromedp.Navigate(p.base+pg.at))
	p.see(pg.sees)
	if pg.before != nil {
		pg.before(p)
	}
	return p
}

// picture takes one, in one of the looks.
func (p *page) picture(look int) (now taken, says string, png []byte) {
	p.t.Helper()
	at := looks[look]
	if at.width < 500 {
		at.width, at.height = 390, 844
	} else {
		at.height = 800
	}
	p.look(at.width, at.height, at.scheme)
	p.js(`document.activeElement?.blur(); document.querySelector(".toasts").replaceChildren()`)
	shot, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	small, size, err := shrink(shot)
	if err != nil {
		p.t.Fatal(err)
	}
	says = ask[string](p, `(document.querySelector("dialog[open]") || document.body).innerText.replace(/\s+/g, " ").trim()`)
	says = sooner.ReplaceAllString(says, "$1")
	return taken{Text: fmt.Sprintf("%x", sha256.Sum256([]byte(says)))[:16], Width: size.X, Height: size.Y}, says, small
}

// sooner is what a slower machine shows otherwise, or later: seconds, and the version, which comes by the stream.
var sooner = regexp.MustCompile(`Version [0-9.]+ |(\d\d:\d\d):\d\d|\d+ s ago|just now`)

// shrink paints a picture with the 256 colours that it has most of, which a page of text does not show.
func shrink(shot []byte) ([]byte, image.Point, error) {
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, image.Point{}, err
	}
	b := img.Bounds()
	flat := image.NewRGBA(b)
	draw.Draw(flat, b, img, b.Min, draw.Src)
	count := map[color.RGBA]int{}
	for i := 0; i < len(flat.Pix); i += 4 {
		count[color.RGBA{flat.Pix[i], flat.Pix[i+1], flat.Pix[i+2], 255}]++
	}
	most := slices.SortedFunc(maps.Keys(count), func(x, y color.RGBA) int {
		return cmp.Or(count[y]-count[x], cmp.Compare(uint32(x.R)<<16|uint32(x.G)<<8|uint32(x.B), uint32(y.R)<<16|uint32(y.G)<<8|uint32(y.B)))
	})
	palette := color.Palette{}
	for _, c := range most[:min(256, len(most))] {
		palette = append(palette, c)
	}
	out, nearest := image.NewPaletted(b, palette), map[color.RGBA]uint8{}
	for i := 0; i < len(flat.Pix); i += 4 {
		c := color.RGBA{flat.Pix[i], flat.Pix[i+1], flat.Pix[i+2], 255}
		n, ok := nearest[c]
		if !ok {
			n = uint8(palette.Index(c))
			nearest[c] = n
		}
		out.Pix[i/4] = n
	}
	var w bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&w, out)
	return w.Bytes(), b.Size(), err
}

// checkPicture looks at the file of a picture: as large as it is said to be, and something is on it.
func checkPicture(t *testing.T, file string, now taken) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("%v: run `make images`", err)
		return
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	if len(b) > maxPicture || img.Bounds().Size() != image.Pt(now.Width, now.Height) {
		t.Errorf("%s has %d bytes and %v pixels; at most %d bytes, and %d x %d pixels", file, len(b), img.Bounds().Size(), maxPicture, now.Width, now.Height)
	}
	colours := map[color.Color]int{}
	for y := 0; y < now.Height; y += 3 {
		for x := 0; x < now.Width; x += 3 {
			colours[img.At(x, y)]++
		}
	}
	if len(colours) < 8 {
		t.Errorf("%s is blank: it has %d colours", file, len(colours))
	}
}

var timeInJSON = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`)

// moved shifts all times in the answers of an API.
func moved(next http.Handler, by time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&movedWriter{ResponseWriter: w, by: by}, r)
	})
}

type movedWriter struct {
	http.ResponseWriter
	by time.Duration
}

func (w *movedWriter) WriteHeader(code int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets a stream flush.
func (w *movedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for those who ask for a Flusher.
func (w *movedWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

func (w *movedWriter) Write(b []byte) (int, error) {
	w.Header().Del("Content-Length")
	_, err := w.ResponseWriter.Write(timeInJSON.ReplaceAllFunc(b, func(s []byte) []byte {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(s))
		if err != nil {
			return s
		}
		return at.Add(w.by).AppendFormat(nil, `"`+time.RFC3339Nano+`"`)
	}))
	return len(b), err
}
