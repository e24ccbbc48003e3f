package kube

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// secretFiles are the files of a container that have secrets in them. One whose whole content is a secret is a key of that
// Secret, mounted as it is. Others are texts around secrets, which only the cluster can put together: a Secret of their own,
// whatever makes it.
type secretFiles struct {
	// whole are the items of volumes by Secret, texts the contents with references by key, and textItems their items.
	whole     map[string][]any
	texts     map[string]string
	textItems []any
	// where is the first file with a text around a secret.
	where string
}

// take takes a file that has a secret in its content, and reports whether it has.
func (s *secretFiles) take(content, key, where string, item map[string]any) bool {
	if !strings.Contains(content, definition.SecretMark) {
		return false
	}
	pieces := definition.SplitSecrets(content)
	if len(pieces) == 1 && pieces[0].Secret != nil {
		if s.whole == nil {
			s.whole = map[string][]any{}
		}
		secret := pieces[0].Secret
		item["key"] = secret.Key
		s.whole[secret.Name] = append(s.whole[secret.Name], item)
		return true
	}
	if s.texts == nil {
		s.texts, s.where = map[string]string{}, where
	}
	s.texts[key] = content
	s.textItems = append(s.textItems, item)
	return true
}

func (s *secretFiles) any() bool { return len(s.whole)+len(s.texts) > 0 }

// projectFiles replaces the volume of a container's files by one that takes them from a ConfigMap and Secrets together, so that
// each file is still mounted on its own.
func (b *builder) projectFiles(volume, container, config string, items []any, s *secretFiles) {
	var sources []any
	if len(items) > 0 {
		sources = append(sources, map[string]any{"configMap": map[string]any{"name": config, "items": items}})
	}
	for _, name := range slices.Sorted(maps.Keys(s.whole)) {
		sources = append(sources, map[string]any{"secret": map[string]any{"name": name, "items": s.whole[name]}})
	}
	if len(s.texts) > 0 {
		if name := b.secretTexts(container, s); name != "" {
			sources = append(sources, map[string]any{"secret": map[string]any{"name": name, "items": s.textItems}})
		}
	}
	b.volumes[volume] = map[string]any{"name": volume, "projected": map[string]any{"sources": sources}}
}

// secretTexts makes the Secret of the texts and gives its name.
func (b *builder) secretTexts(container string, s *secretFiles) string {
	if b.in.SecretFiles == nil {
		b.problem(errorsv1.Reason_REASON_PLAINTEXT_SECRET, s.where+".content",
			"refers to a secret, and files are kept in Git as they are: put the secret into a variable and let the program read it from there")
		return ""
	}
	name, o, err := b.in.SecretFiles(b.in.Workload+"-"+container+"-files", s.texts)
	if err != nil {
		b.problem(errs.ReasonOf(err), s.where+".content", "%s", errs.Message(err))
		return ""
	}
	meta := b.marked(b.in.Place.Meta(name, b.in.Workload, b.in.Workload))
	if annotations := child(child(o, "metadata"), "annotations"); annotations != nil {
		annotations = maps.Clone(annotations)
		maps.Copy(annotations, child(meta, "annotations"))
		meta["annotations"] = annotations
	}
	o = maps.Clone(o)
	o["metadata"] = meta
	b.objects = append(b.objects, o)
	return name
}

// noteSecrets notes the versions of the secrets in a text.
func (b *builder) noteSecrets(pieces []definition.Piece) {
	if b.in.SecretVersion == nil {
		return
	}
	for _, p := range pieces {
		if p.Secret == nil {
			continue
		}
		if version := b.in.SecretVersion(*p.Secret); version != "" {
			if b.secrets == nil {
				b.secrets = map[definition.Secret]string{}
			}
			b.secrets[*p.Secret] = version
		}
	}
}

func (b *builder) secretsChecksum() string {
	var lines []string
	for secret, version := range b.secrets {
		lines = append(lines, fmt.Sprintf("%s/%s %s\n", secret.Name, secret.Key, version))
	}
	slices.Sort(lines)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, ""))))
}

// explainVerbatim says that placeholders in command and args stay text: people put passwords there and wonder.
func (b *builder) explainVerbatim(list []any, where string) {
	for _, v := range list {
		if s, _ := v.(string); strings.Contains(s, "${resources.") {
			b.warn("%s has a placeholder, and Score expands none there: give the value to a variable and let the program read that, through a shell if need be (sh -c)", where)
			return
		}
	}
}
