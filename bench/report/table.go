package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// none stands where nothing was measured.
const none = "–"

// table is aligned columns: the first to the left, the others to the right.
type table [][]string

func (t table) write(w io.Writer) error {
	if len(t) == 0 {
		return nil
	}
	widths := t.widths()
	var page strings.Builder
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line.WriteString(cell + pad)
			} else {
				line.WriteString("   " + pad + cell)
			}
		}
		page.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := fmt.Fprintln(w, page.String())
	return err
}

func (t table) widths() []int {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}
