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
	shipped    program = sync.OnceValues(func() (string, error) { return build("shipped", false) })
	small      program = sync.OnceValues(func() (string, error) { return build("small", true) })
	smallLossy program = sync.OnceValues(func() (string, error) { return build("lossy", true, "-tags", "remora_nosync") })
)

func (p program) path(t *testing.T) string {
	t.Helper()
	path, err := p()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name string, smallMemtable bool, flags ...string) (string, error) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	if smallMemtable {
		overlay, err := shrinkMemtable(root)
		if err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
		flags = append(flags, "-overlay", overlay)
	}
	path := filepath.Join(folder, name)
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", path}, flags...), "./cmd/sidecar")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// shrinkMemtable returns an overlay for go build in which the database's
// memtables have the smallest size.
func shrinkMemtable(root string) (overlay string, err error) {
	name := filepath.Join(root, "internal", "kv", "options.go")
	source, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	was, is := []byte("defaultMemTableSize = 16 << 20"), []byte("defaultMemTableSize = 1 << 20")
	if bytes.Count(source, was) != 1 {
		return "", fmt.Errorf("%s does not have %q once: say how the memtable is made small now", name, was)
	}
	changed := filepath.Join(folder, "options.go")
	if err := os.WriteFile(changed, bytes.Replace(source, was, is, 1), 0o600); err != nil {
		return "", err
	}
	overlay = filepath.Join(folder, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{name: changed}})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o600)
}
