package sidecarproof

import (
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/test/broken"
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
type change = broken.Change

var (
	replaced = broken.Replaced
	added    = broken.Added
	tagged   = broken.Tagged
)

// built is the program with changes, built when it is first needed.
func built(name string, changes ...change) program {
	return sync.OnceValues(func() (string, error) { return broken.Build(folder, name, changes...) })
}
