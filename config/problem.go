package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Origin is where a value was written.
type Origin struct {
	Layer  Layer
	Name   string // of the file, the variable or the flag
	Line   int    // in a file, from 1
	Column int    // in a file, from 1
	Source string // that line of the file
}

// Layer is a kind of origin; a higher one wins.
type Layer uint8

// The layers.
const (
	LayerDefault Layer = iota
	LayerFile
	LayerEnv
	LayerFlag
)

// String reads as "default", "remora.yaml:3:7", "env REMORA_LOG_LEVEL" or
// "--set log.level".
func (o Origin) String() string {
	switch o.Layer {
	case LayerFile:
		if o.Line == 0 {
			return o.Name
		}
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	case LayerEnv:
		return "env " + o.Name
	case LayerFlag:
		return "--set " + o.Name
	case LayerDefault:
	}
	return "default"
}

// Problem is one thing that is wrong with a configuration.
type Problem struct { //nolint:errname // the word that the operator reads
	Path    string // key, as spool.dir; empty: the file as a whole
	Message string // what is wrong and what to write instead
	Origin  Origin
}

// Error is the message with its place, and the line of the file with a mark.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Origin.Layer != LayerDefault {
		fmt.Fprintf(&b, "%s: ", p.Origin)
	}
	if p.Path != "" {
		fmt.Fprintf(&b, "%s: ", p.Path)
	}
	b.WriteString(p.Message)
	if p.Origin.Source != "" {
		number := strconv.Itoa(p.Origin.Line)
		fmt.Fprintf(&b, "\n  %s | %s\n  %s | %s^", number, p.Origin.Source,
			strings.Repeat(" ", len(number)), padding(p.Origin.Source, p.Origin.Column))
	}
	return b.String()
}

// padding is as wide as what stands before the column, tabs included.
func padding(source string, column int) string {
	var b strings.Builder
	for i, r := range []rune(source) {
		if i >= column-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Problems are all that is wrong with a configuration, in the order of the
// file. Each is one or three lines of Error.
type Problems []Problem //nolint:errname,recvcheck // as Problem; addf appends

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the problems in order, or nil when there are none.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Origin.Layer, b.Origin.Layer), cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column))
	})
	return p
}

func (p *Problems) addf(path, format string, args ...any) {
	*p = append(*p, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}
