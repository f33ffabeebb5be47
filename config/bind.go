package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// binder writes a parsed file into a Config, strictly, and goes on after a
// problem so that all are found.
type binder struct {
	file     string
	lines    []string
	env      environment
	fixed    *Origin // of all that is bound, when it is not from the file
	origins  map[string]Origin
	problems Problems
}

func (b *binder) faultf(n ast.Node, path, format string, args ...any) {
	b.problems = append(b.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Origin: b.at(n)})
}

func (b *binder) at(n ast.Node) Origin {
	if b.fixed != nil {
		return *b.fixed
	}
	o := Origin{Layer: LayerFile, Name: b.file}
	if t := first(n).GetToken(); t != nil && t.Position != nil {
		o.Line, o.Column = t.Position.Line, t.Position.Column
	}
	if o.Line >= 1 && o.Line <= len(b.lines) {
		o.Source = b.lines[o.Line-1]
	}
	return o
}

// first is where a node begins: a block of keys is told by its first colon.
func first(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		return n.Key
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key
		}
	}
	return n
}

// bind writes n, the value of the key path, into v.
func (b *binder) bind(v reflect.Value, n ast.Node, path string) {
	b.origins[path] = b.at(n)
	_, isText := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	switch {
	case isText:
		b.scalar(v, n, path)
	case v.Kind() == reflect.Struct:
		b.object(v, n, path)
	case v.Kind() == reflect.Slice:
		b.list(v, n, path)
	case v.Kind() == reflect.Map:
		b.table(v, n, path)
	default:
		b.scalar(v, n, path)
	}
}

// entries returns the keys and values of a mapping.
func (b *binder) entries(n ast.Node, path string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil
	}
	b.faultf(n, path, "%s; write keys and values below it", kindOf(n))
	return nil
}

func (b *binder) object(v reflect.Value, n ast.Node, path string) {
	names := fieldNames(v.Type())
	seen := map[string]bool{}
	for _, e := range b.entries(n, path) {
		name := e.Key.GetToken().Value
		key := join(path, name)
		i := slices.Index(names, name)
		switch {
		case e.Key.IsMergeKey():
			b.faultf(e.Key, path, "merge keys are not supported; write the keys out")
		case i < 0:
			b.faultf(e.Key, key, "there is no such key%s", meant(name, names))
		case seen[name]:
			b.faultf(e.Key, key, "the key is given twice")
		default:
			seen[name] = true
			b.bind(v.Field(i), e.Value, key)
		}
	}
}

func (b *binder) list(v reflect.Value, n ast.Node, path string) {
	items := []ast.Node{n} // one item need not be a list
	switch n := n.(type) {
	case *ast.SequenceNode:
		items = n.Values
	case *ast.NullNode:
		items = nil
	}
	made := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		b.bind(made.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(made)
}

func (b *binder) table(v reflect.Value, n ast.Node, path string) {
	entries := b.entries(n, path)
	if len(entries) == 0 {
		return
	}
	made := reflect.MakeMap(v.Type())
	for _, e := range entries {
		value := reflect.New(v.Type().Elem()).Elem()
		name := e.Key.GetToken().Value
		b.bind(value, e.Value, join(path, name))
		made.SetMapIndex(reflect.ValueOf(name), value)
	}
	v.Set(made)
}

func (b *binder) scalar(v reflect.Value, n ast.Node, path string) {
	text, ok := scalarText(n)
	if !ok {
		b.faultf(n, path, "%s; write a single value", kindOf(n))
		return
	}
	text, err := interpolate(text, b.env)
	if err == nil {
		err = setText(v, text)
	}
	if err != nil {
		b.faultf(n, path, "%v", err)
	}
}

// scalarText returns what was written, without quotes.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "the key has no value"
	case *ast.SequenceNode:
		return "this is a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "these are keys and values"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "anchors, aliases and tags are not supported"
	}
	return "this is a single value"
}

// setText writes text into a value that is no struct, list or table.
func setText(v reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Uint32:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0", text)
		}
		v.SetUint(n)
	default:
		return fmt.Errorf("a %s cannot be written as one value; use the file", v.Kind())
	}
	return nil
}
