package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxSide is the widest that one side becomes; longer lines are clipped, because two sides that wrap cannot be read.
const maxSide = 76

// sideBySide writes two texts beside each other, lines that are on one side only, or differ, marked between them.
func (p *printer) sideBySide(leftTitle, rightTitle, left, right string) error {
	pairs := align(lines(left), lines(right))
	width := utf8.RuneCountInString(leftTitle)
	for _, pair := range pairs {
		width = max(width, min(maxSide, utf8.RuneCountInString(pair.left)))
	}
	var b strings.Builder
	write := func(l, mark, r, colour string) {
		l, r = clip(l, maxSide), clip(r, maxSide)
		pad := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(l)))
		b.WriteString(strings.TrimRight(p.paint(colour, l)+pad+" "+mark+" "+p.paint(colour, r), " ") + "\n")
	}
	write(leftTitle, " ", rightTitle, bold)
	for _, pair := range pairs {
		colour := ""
		if pair.mark != " " {
			colour = yellow
		}
		write(pair.left, pair.mark, pair.right, colour)
	}
	if _, err := io.WriteString(p.out, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func lines(text string) []string {
	text = strings.TrimSuffix(clean(text), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// lineItem is one line of the two sides: mark is "|" where they differ, "<" and ">" where only one side has it.
type lineItem struct{ left, mark, right string }

// align puts the lines of two texts beside each other by their longest common subsequence. Manifests are short enough for a table.
func align(a, b []string) []lineItem {
	const most = 4000 // lines; beyond them, lines stand beside each other by number
	var out []lineItem
	if len(a) > most || len(b) > most {
		for i := range max(len(a), len(b)) {
			out = append(out, pairAt(a, b, i, i))
		}
		return out
	}
	length := make([][]int16, len(a)+1)
	for i := range length {
		length[i] = make([]int16, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var onlyA, onlyB []string
	flush := func() {
		for k := range max(len(onlyA), len(onlyB)) {
			out = append(out, pairAt(onlyA, onlyB, k, k))
		}
		onlyA, onlyB = nil, nil
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			flush()
			out = append(out, lineItem{a[i], " ", b[j]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			onlyA = append(onlyA, a[i])
			i++
		default:
			onlyB = append(onlyB, b[j])
			j++
		}
	}
	flush()
	return out
}

// pairAt gives what stands at two places, of which one may be behind the end.
func pairAt(a, b []string, i, j int) lineItem {
	switch {
	case i >= len(a):
		return lineItem{"", ">", b[j]}
	case j >= len(b):
		return lineItem{a[i], "<", ""}
	case a[i] == b[j]:
		return lineItem{a[i], " ", b[j]}
	default:
		return lineItem{a[i], "|", b[j]}
	}
}
