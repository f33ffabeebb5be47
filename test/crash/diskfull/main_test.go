package diskfull

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// folder holds the program, for all tests.
var folder string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "diskfull")
	if err != nil {
		panic(err)
	}
	folder = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// program builds the sidecar once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "sidecar")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/sidecar")
	cmd.Dir = filepath.Join("..", "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the sidecar: %w\n%s", err, out)
	}
	return path, nil
})
