package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// fieldNames returns the keys of a struct, in order of its fields.
func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("yaml")
	}
	return names
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// leaf is a key that has a value of its own: whatever is no struct.
type leaf struct {
	path  string
	value reflect.Value
}

// leaves lists the keys of a Config in the order of its fields; v must be
// addressable. The items of a list are listed only when they are structs.
func leaves(v reflect.Value, path string) (all []leaf) {
	_, isText := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	switch {
	case !isText && v.Kind() == reflect.Struct:
		for i, name := range fieldNames(v.Type()) {
			all = append(all, leaves(v.Field(i), join(path, name))...)
		}
		return all
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && v.Len() > 0:
		for i := range v.Len() {
			all = append(all, leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
		return all
	}
	return []leaf{{path, v}}
}

func leavesOf(c *Config) []leaf { return leaves(reflect.ValueOf(c).Elem(), "") }

// meant suggests the name that is nearest to a mistyped one, or lists them all
// when none is near.
func meant(typed string, names []string) string {
	if nearest := Nearest(typed, names); nearest != "" {
		return fmt.Sprintf("; did you mean %s?", nearest)
	}
	if len(names) > 20 {
		return ""
	}
	return "; known are " + strings.Join(names, ", ")
}

// Nearest returns the name that a mistyped one comes close to; "" when none does.
func Nearest(typed string, names []string) string {
	nearest, least := "", max(1, len(typed)/2)+1
	for _, name := range names {
		if d := distance(typed, name); d < least {
			nearest, least = name, d
		}
	}
	return nearest
}

// distance counts the letters to insert, remove, replace or swap.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := range len(a) {
		for j := range len(b) {
			replace := d[i][j]
			if a[i] != b[j] {
				replace++
			}
			d[i+1][j+1] = min(replace, d[i][j+1]+1, d[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d[i+1][j+1] = min(d[i+1][j+1], d[i-1][j-1]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
