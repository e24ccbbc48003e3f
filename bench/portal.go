package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"

	"github.com/towpath-dev/towpath/gen/openapi"
	"github.com/towpath-dev/towpath/internal/portal"
)

// references finds what a page, a script or a style sheet of the portal loads next.
var references = regexp.MustCompile(`(?:src|href)="(/[^"#]+)"|from "(\.[^"]+)"|import "(\.[^"]+)"|url\("?([^")]+)"?\)`)

// benchPortal loads the portal's first page as a browser with an empty cache does: the page, and everything it refers to.
func benchPortal(ctx context.Context, r *report) error {
	s := httptest.NewServer(portal.Handler(openapi.JSON))
	defer s.Close()
	bytes, err := loadPage(ctx, s.URL+"/")
	if err != nil {
		return err
	}
	r.add("portal.bytes", float64(bytes), "", 0)
	return nil
}

func loadPage(ctx context.Context, first string) (int, error) {
	todo, seen, total := []string{first}, map[string]bool{first: true}, 0
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		body, err := fetch(ctx, at)
		if err != nil {
			return 0, err
		}
		total += len(body)
		base, err := url.Parse(at)
		if err != nil {
			return 0, err
		}
		for _, m := range references.FindAllStringSubmatch(string(body), -1) {
			ref := m[slices.IndexFunc(m[1:], func(s string) bool { return s != "" })+1]
			next, err := base.Parse(ref)
			if err != nil || next.Scheme != base.Scheme || next.Path == "/docs" || seen[next.String()] {
				continue
			}
			seen[next.String()] = true
			todo = append(todo, next.String())
		}
	}
	if len(seen) < 3 {
		return 0, fmt.Errorf("the portal's page refers to %d files only; its references are not understood", len(seen)-1)
	}
	return total, nil
}

func fetch(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
