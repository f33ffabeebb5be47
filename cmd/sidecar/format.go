package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// format is the value of -o.
type format struct {
	value string
	known []string
}

func (f *format) String() string { return f.value }
func (f *format) Type() string   { return strings.Join(f.known, "|") }

// Set implements pflag.Value.
func (f *format) Set(v string) error {
	if !slices.Contains(f.known, v) {
		return fmt.Errorf("it is one of %s", strings.Join(f.known, ", "))
	}
	f.value = v
	return nil
}

// isTerminal reports whether w is a terminal, which may be redrawn.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
}

// paint colours text for a terminal, unless NO_COLOR says otherwise.
type paint bool

func painter(w any) paint { return paint(isTerminal(w) && os.Getenv("NO_COLOR") == "") }

func (p paint) do(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) green(s string) string  { return p.do("32", s) }
func (p paint) yellow(s string) string { return p.do("33", s) }
func (p paint) red(s string) string    { return p.do("31", s) }
func (p paint) dim(s string) string    { return p.do("2", s) }
func (p paint) bold(s string) string   { return p.do("1", s) }
