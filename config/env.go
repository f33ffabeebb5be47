package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/parser"
)

// prefix begins the variables that stand for keys: REMORA_SPOOL_DIR.
const prefix = "REMORA_"

// notKeys are variables of that prefix with another meaning.
var notKeys = []string{"REMORA_URL", "REMORA_TOKEN", "REMORA_ADMIN_URL", "REMORA_ADMIN_TOKEN"}

// environment is variables by name.
type environment map[string]string

func newEnvironment(env []string) environment {
	e := make(environment, len(env))
	for _, v := range env {
		if name, value, ok := strings.Cut(v, "="); ok {
			e[name] = value
		}
	}
	return e
}

// variable is the name under which the environment overrides a key; "" for the
// items of a list.
func variable(path string) string {
	if strings.Contains(path, "[") {
		return ""
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func (l *Loaded) readEnv(env environment) (found Problems) {
	known := slices.Clone(notKeys)
	for _, leaf := range leavesOf(&l.Config) {
		name := variable(leaf.path)
		known = append(known, name)
		if text, ok := env[name]; ok && name != "" {
			found = append(found, l.override(leaf, text, Origin{Layer: LayerEnv, Name: name}, env)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, prefix) && !slices.Contains(known, name) && !strings.HasPrefix(name, prefix+"TEST_") {
			l.Warnings = append(l.Warnings, fmt.Sprintf("the variable %s stands for no key%s", name, meant(name, known)))
		}
	}
	return found
}

func (l *Loaded) readFlags(set []string) (found Problems) {
	for _, s := range set {
		path, text, ok := strings.Cut(s, "=")
		origin := Origin{Layer: LayerFlag, Name: path}
		if !ok {
			found = append(found, Problem{Message: "write --set key=value", Origin: origin})
			continue
		}
		all := leavesOf(&l.Config)
		i := slices.IndexFunc(all, func(leaf leaf) bool { return leaf.path == path })
		if i < 0 {
			names := make([]string, len(all))
			for i, leaf := range all {
				names[i] = leaf.path
			}
			found = append(found, Problem{Message: "there is no such key" + meant(path, names), Origin: origin})
			continue
		}
		found = append(found, l.override(all[i], text, origin, nil)...)
	}
	return found
}

// override replaces the value of a key. Lists are a,b or, like tables, YAML in
// one line: [a, b].
func (l *Loaded) override(leaf leaf, text string, o Origin, env environment) Problems {
	b := &binder{env: env, origins: l.origins, fixed: &o}
	isList := leaf.value.Kind() == reflect.Slice
	switch {
	case (isList || leaf.value.Kind() == reflect.Map) && strings.ContainsAny(text[:min(len(text), 1)], "[{"):
		file, err := parser.ParseBytes([]byte(text), 0)
		if err != nil || len(file.Docs) != 1 {
			return Problems{b.syntax(err)}
		}
		b.bind(leaf.value, file.Docs[0].Body, leaf.path)
	case isList && text == "":
		leaf.value.SetZero()
	case isList:
		b.split(leaf, text)
	default:
		if err := setText(leaf.value, text); err != nil {
			return Problems{{Path: leaf.path, Message: err.Error(), Origin: o}}
		}
	}
	l.origins[leaf.path] = o
	return b.problems
}

func (b *binder) split(leaf leaf, text string) {
	items := strings.Split(text, ",")
	made := reflect.MakeSlice(leaf.value.Type(), len(items), len(items))
	for i, item := range items {
		if err := setText(made.Index(i), strings.TrimSpace(item)); err != nil {
			b.problems = append(b.problems, Problem{Path: leaf.path, Message: err.Error(), Origin: *b.fixed})
			return
		}
	}
	leaf.value.Set(made)
}

// interpolate replaces ${NAME} and ${NAME:-text}; $${ is a literal ${.
func interpolate(text string, env environment) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(text)
			return out.String(), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			out.WriteString(escaped + "${")
			text = rest
			continue
		}
		out.WriteString(before)
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("${%s has no closing brace; write $${ for a literal ${", rest)
		}
		name, fallback, hasFallback := strings.Cut(inner, ":-")
		value, ok := env[name]
		switch {
		case ok && value != "" || ok && !hasFallback:
			out.WriteString(value)
		case hasFallback:
			out.WriteString(fallback)
		default:
			return "", fmt.Errorf("the variable %s is not set; set it, or write ${%s:-fallback}", name, name)
		}
		text = after
	}
}
