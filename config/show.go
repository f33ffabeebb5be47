package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Setting is one key with its value, as text for people.
type Setting struct {
	Path   string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Settings lists every key in the order of the struct. Secrets are kept in
// files, of which only the paths are here; user information in a URL is hidden.
func (l *Loaded) Settings() []Setting {
	c := l.Config
	c.Subscriptions = nil
	for _, s := range l.Config.Subscriptions {
		c.Subscriptions = append(c.Subscriptions, s.WithDefaults(c.Dedupe.Window))
	}
	var all []Setting
	for _, leaf := range leavesOf(&c) {
		all = append(all, Setting{leaf.path, hide(show(leaf.value)), l.origin(leaf.path)})
	}
	return all
}

func (l *Loaded) origin(path string) string {
	o := l.origins[path]
	return o.String()
}

// show writes a value as YAML of one line.
func show(v reflect.Value) string {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, err := m.MarshalText()
		if err == nil {
			return string(text)
		}
	}
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = show(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var entries []string
		for key, value := range v.Seq2() {
			entries = append(entries, show(key)+": "+show(value))
		}
		slices.Sort(entries)
		return "{" + strings.Join(entries, ", ") + "}"
	default:
		return fmt.Sprint(v.Interface())
	}
}

func quote(s string) string {
	if s == "" || strings.ContainsAny(s, "#{}[],\"'*&!%@` ") || strings.Contains(s, ": ") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// hide replaces what stands between :// and @.
func hide(text string) string {
	before, rest, found := strings.Cut(text, "://")
	at := strings.LastIndexByte(rest, '@')
	if !found || at < 0 {
		return text
	}
	return before + "://***" + rest[at:]
}
