package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// Sources are the layers above the defaults.
type Sources struct {
	File string   // path of the YAML file; empty: none
	Data []byte   // the file's content instead of reading File, unless nil
	Env  []string // NAME=value, as os.Environ
	Set  []string // a.b=value
}

// Loaded is a configuration that knows where its values were written.
type Loaded struct {
	Config

	// Warnings are for the log: they change nothing.
	Warnings []string

	origins map[string]Origin
}

// Load reads and validates. An error is of type Problems, unless the file
// cannot be read.
func Load(src Sources) (*Loaded, error) {
	l := &Loaded{Config: Default(), origins: map[string]Origin{}}
	env := newEnvironment(src.Env)
	problems, err := l.readFile(src, env)
	if unread := (Problem{}); errors.As(err, &unread) {
		return l, Problems{unread} // what it would have said is not missing
	}
	if err != nil {
		return nil, err
	}
	problems = append(problems, l.readEnv(env)...)
	problems = append(problems, l.readFlags(src.Set)...)
	problems = append(problems, l.validate(problems)...)
	return l, problems.err()
}

// Origin tells where the value of a key was written.
func (l *Loaded) Origin(path string) Origin { return l.origins[path] }

// place is the origin of a key, or of the nearest one above it that was written.
func (l *Loaded) place(path string) Origin {
	for path != "" {
		if o, ok := l.origins[path]; ok {
			return o
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	o := l.origins[""]
	return Origin{Layer: o.Layer, Name: o.Name}
}

func (l *Loaded) readFile(src Sources, env environment) (Problems, error) {
	data := src.Data
	if data == nil && src.File != "" {
		var err error
		if data, err = os.ReadFile(src.File); err != nil {
			return nil, fmt.Errorf("read configuration: %w; name the file with -c, or make one with 'sidecar config init'", err)
		}
	}
	if len(data) == 0 {
		return nil, nil
	}
	b := &binder{file: src.File, lines: strings.Split(string(data), "\n"), env: env, origins: l.origins}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, b.syntax(err)
	}
	for i, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			b.faultf(doc.Body, "", "a second document begins here; the configuration is one")
		default:
			b.bind(reflect.ValueOf(&l.Config).Elem(), doc.Body, "")
		}
	}
	return b.problems, nil
}

func (b *binder) syntax(err error) Problem {
	p := Problem{Message: fmt.Sprintf("this is not YAML: %v", err), Origin: Origin{Layer: LayerFile, Name: b.file, Line: 1, Column: 1}}
	if b.fixed != nil {
		p.Origin = *b.fixed
		return p
	}
	if e := yaml.Error(nil); errors.As(err, &e) {
		p.Message = "this is not YAML: " + e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.Origin.Line, p.Origin.Column = t.Position.Line, t.Position.Column
		}
	}
	if n := p.Origin.Line; n >= 1 && n <= len(b.lines) {
		p.Origin.Source = b.lines[n-1]
	}
	return p
}

// validate looks at the values that could be read.
func (l *Loaded) validate(unread Problems) (found Problems) {
	bad := map[string]bool{}
	for _, p := range unread {
		bad[p.Path] = true
	}
	for _, p := range l.Config.problems() {
		if p.Origin = l.place(p.Path); !bad[p.Path] {
			found = append(found, p)
		}
	}
	return found
}
