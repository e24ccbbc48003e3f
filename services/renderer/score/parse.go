package score

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

const (
	// MaxFile is the largest Score file, overrides document or source file, in bytes.
	MaxFile = 1 << 20
	// maxDepth is how deep maps and lists may nest. protobuf.Struct readers recurse, and stop at 10,000 or less.
	maxDepth = 64
	// maxNodes is how many values a document may have after aliases are put in place: a small file whose aliases refer to
	// aliases would otherwise grow without bound.
	maxNodes = 100_000
	// maxNumber is the largest whole number that a protobuf.Struct, which holds doubles, carries exactly.
	maxNumber = 1 << 53
)

// parser turns one YAML document into nodes.
type parser struct {
	file string
	// column is where the text begins in its first line, for values that are part of a larger text.
	column   int
	problems *problems
	nodes    int
	aliases  map[*yaml.Node]bool
}

// parse reads one YAML document. What can be read in spite of problems is given, so that the rest is looked at too; it is nil after
// a problem that leaves nothing to go on with, and for a document without content, which is reported only when it must have some.
func parse(at pos, content []byte, must bool, p *problems) *node {
	p.read(at.file, content)
	if !utf8.Valid(content) {
		p.add(invalidAt(at, content), "", "is not UTF-8: expected UTF-8 text, got %s; save the file as UTF-8", encodingOf(content))
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if !errors.Is(err, io.EOF) {
			p.syntax(at, content, err)
		} else if must {
			p.add(at, "", "is empty: expected a Score document with apiVersion, metadata and containers")
		}
		return nil
	}
	ps := &parser{file: at.file, column: at.col - 1, problems: p, aliases: map[*yaml.Node]bool{}}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		p.add(ps.at(&second), "", "holds a second YAML document: expected one, because one file is one workload")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(at, content, err)
		return nil
	}
	n := ps.value(document.Content[0], "", 0)
	if ps.nodes > maxNodes || !must && n.isNull() && !n.broken {
		return nil
	}
	return n
}

func invalidAt(at pos, content []byte) pos {
	line, col := at.line, at.col
	for len(content) > 0 {
		r, size := utf8.DecodeRune(content)
		if r == utf8.RuneError && size <= 1 {
			break
		}
		if col++; r == '\n' {
			line, col = line+1, 1
		}
		content = content[size:]
	}
	return pos{file: at.file, line: line, col: col}
}

func (ps *parser) at(y *yaml.Node) pos {
	at := pos{file: ps.file, line: max(y.Line, 1), col: max(y.Column, 1)}
	if at.line == 1 {
		at.col += ps.column
	}
	return at
}

// value converts one YAML node. A problem gives an empty node, so that the rest is still looked at; only the two limits end it.
func (ps *parser) value(y *yaml.Node, where path, depth int) *node {
	if ps.nodes++; ps.nodes > maxNodes || depth > maxDepth {
		if ps.nodes <= maxNodes {
			ps.problems.add(ps.at(y), where, "is nested deeper than %d levels: expected fewer", maxDepth)
		} else if ps.nodes == maxNodes+1 {
			ps.problems.add(ps.at(y), where, "is one value too many: expected at most %d, with YAML aliases expanded", maxNodes)
		}
		return ps.broken(y)
	}
	switch y.Kind {
	case yaml.AliasNode:
		return ps.alias(y, where, depth)
	case yaml.MappingNode:
		return ps.mapping(y, where, depth)
	case yaml.SequenceNode:
		n := &node{kind: listKind, pos: ps.at(y)}
		if !ps.plainTag(y, "!!seq", where) {
			n.broken = true
		}
		for i, item := range y.Content {
			n.list = append(n.list, ps.value(item, where.index(i), depth+1))
		}
		return n
	default:
		return ps.scalar(y, where)
	}
}

func (ps *parser) alias(y *yaml.Node, where path, depth int) *node {
	if ps.aliases[y.Alias] {
		ps.problems.add(ps.at(y), where, "the YAML alias *%s contains itself: expected an alias of something else", quote(y.Value))
		return ps.broken(y)
	}
	ps.aliases[y.Alias] = true
	defer delete(ps.aliases, y.Alias)
	return ps.value(y.Alias, where, depth+1)
}

// broken is what stands in for a value that was reported.
func (ps *parser) broken(y *yaml.Node) *node { return &node{pos: ps.at(y), broken: true} }

// plainTag reports a tag that a value should not have.
func (ps *parser) plainTag(y *yaml.Node, tag string, where path) bool {
	got := y.ShortTag()
	if got == tag || got == "" || got == "!" {
		return true
	}
	ps.problems.add(ps.at(y), where, "has the YAML tag %s, which means nothing here: expected none; remove it, or quote the value", shortened(got))
	return false
}

func (ps *parser) mapping(y *yaml.Node, where path, depth int) *node {
	n := newMap(ps.at(y))
	ps.plainTag(y, "!!map", where)
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, ps.merge(value, where, depth)...)
			continue
		}
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			ps.problems.add(ps.at(key), where, "has a key that is not a string: expected a name")
			continue
		}
		at, name := ps.at(y.Content[i]), where.field(key.Value)
		if first, twice := n.keys[key.Value]; twice {
			ps.problems.add(at, name, "is given twice; first at line %d: expected it once", first.line)
			continue
		}
		n.fields[key.Value] = ps.value(value, name, depth+1)
		n.keys[key.Value] = at
	}
	for _, m := range merged {
		for k, v := range m.fields {
			if _, own := n.fields[k]; !own {
				n.fields[k], n.keys[k] = v, m.keyPos(k)
			}
		}
	}
	return n
}

// merge reads the value of a YAML merge key (<<): a map or a list of maps, the earlier winning.
func (ps *parser) merge(y *yaml.Node, where path, depth int) []*node {
	n := ps.value(y, where.field("<<"), depth+1)
	list := []*node{n}
	if n.kind == listKind {
		list = n.list
	}
	for _, m := range list {
		if m.kind != mapKind {
			if !m.broken {
				ps.problems.add(m.pos, where.field("<<"), "the YAML merge key takes a map or a list of maps: expected one, got %s", m.describe())
			}
			return nil
		}
	}
	return list
}

func (ps *parser) scalar(y *yaml.Node, where path) *node {
	n := &node{pos: ps.at(y)}
	switch tag := y.ShortTag(); tag {
	case "!!str", "!!timestamp", "!":
		n.scalar = y.Value
	case "!!null":
	case "!!bool", "!!int", "!!float":
		var v any
		if err := y.Decode(&v); err != nil {
			ps.problems.add(n.pos, where, "%s is no %s: expected one, or no tag", quote(y.Value), tag)
			return ps.broken(y)
		}
		scalar, problem := number(v)
		if problem != "" {
			ps.problems.add(n.pos, where, "%s %s", shortened(y.Value), problem)
			return ps.broken(y)
		}
		if n.scalar = scalar; tag != "!!bool" {
			n.raw = y.Value
		}
	default:
		ps.plainTag(y, "!!str", where)
		return ps.broken(y)
	}
	return n
}

// number gives booleans as they are and any number as a float64 that holds it exactly.
func number(v any) (any, string) {
	var f float64
	switch v := v.(type) {
	case bool:
		return v, ""
	case int:
		f = float64(v)
		if v > maxNumber || v < -maxNumber {
			return f, outOfRange
		}
	case int64:
		f = float64(v)
	case uint64:
		f = float64(v)
	case float64:
		f = v
	default:
		return nil, fmt.Sprintf("is a %T: expected a number", v)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, "is not a finite number: expected one; quote it if it is meant as text"
	}
	if math.Abs(f) > maxNumber {
		return f, outOfRange
	}
	return f, ""
}

const outOfRange = "is beyond 9007199254740992 (2^53), the largest number that is carried exactly: expected a smaller one; quote it to make it a string"
