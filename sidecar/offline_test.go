package sidecar_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// A tool leaves the ballast as it is, whatever its own configuration would make of it:
// it neither grows nor shrinks one, nor makes one, nor opens the file.
func TestAToolLeavesTheBallastAsItIs(t *testing.T) {
	c := embedded(t)
	if err := start(t, c).end(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.Spool.Dir, "spool", "ballast")
	for name, limit := range map[string]config.Size{"the same limit": c.Spool.Limit, "a smaller limit": 200 * config.MiB, "a larger limit": 4 << 30} {
		before := fileOf(t, path)
		if before.Blocks == 0 {
			t.Fatal("there is no ballast")
		}
		tool := c
		tool.Spool.Limit = limit
		openAndClose(t, tool)
		if after := fileOf(t, path); after != before {
			t.Errorf("%s: the ballast was %+v, is %+v", name, before, after)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	openAndClose(t, c)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("a tool has made a ballast: %v", err)
	}
}

func openAndClose(t *testing.T, c config.Config) {
	t.Helper()
	o, err := sidecar.OpenOffline(t.Context(), c, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

// fileOf is what the file system says of a file, but for when it was looked at.
func fileOf(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	st.Atim = unix.Timespec{}
	return st
}
