package sidecarproof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// folder holds the programs, for all tests.
var folder string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sidecarproof")
	if err != nil {
		panic(err)
	}
	folder = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// program is a build of the sidecar, made once.
type program func() (string, error)

var (
	shipped    = built("shipped")
	small      = built("small", smallMemtable)
	smallLossy = built("lossy", smallMemtable, tagged("remora_nosync"))
)

// smallMemtable makes few messages rotate, flush and compact.
var smallMemtable = replaced("internal/kv/options.go", "defaultMemTableSize = 8 << 20", "defaultMemTableSize = 1 << 20")

func (p program) path(t *testing.T) string {
	t.Helper()
	path, err := p()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// change is how a build differs from what ships.
type change struct {
	file, was, is string // text that the file has once; was "": the file is new
	tag           string
}

func replaced(file, was, is string) change { return change{file: file, was: was, is: is} }
func added(file, text string) change       { return change{file: file, is: text} }
func tagged(tag string) change             { return change{tag: tag} }

// built is the program with changes, built when it is first needed.
func built(name string, changes ...change) program {
	return sync.OnceValues(func() (string, error) {
		path, err := build(name, changes)
		if err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
		return path, nil
	})
}

func build(name string, changes []change) (path string, err error) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, name)
	args := []string{"build", "-buildvcs=false", "-o", path}
	overlay := map[string]string{}
	for n, c := range changes {
		if c.tag != "" {
			args = append(args, "-tags", c.tag)
			continue
		}
		with := filepath.Join(folder, fmt.Sprintf("%s-%d.go", name, n))
		file := filepath.Join(root, c.file)
		from := file
		if earlier, ok := overlay[file]; ok {
			from = earlier
		}
		if err := c.write(from, with); err != nil {
			return "", err
		}
		overlay[file] = with
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".json", text, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append(args, "-overlay", path+".json", "./cmd/sidecar")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// write makes the changed copy of a file.
func (c change) write(from, path string) error {
	if c.was == "" {
		return os.WriteFile(path, []byte(c.is), 0o600)
	}
	source, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if bytes.Count(source, []byte(c.was)) != 1 {
		return fmt.Errorf("%s does not have %q once: say how it is changed now", c.file, c.was)
	}
	return os.WriteFile(path, bytes.Replace(source, []byte(c.was), []byte(c.is), 1), 0o600)
}
