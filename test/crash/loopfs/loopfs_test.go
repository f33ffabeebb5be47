package loopfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/remora-mq/remora/test/crash/loopfs"
)

// What was synced survives, and what was not does not: else a cut proves nothing.
func TestACutKeepsWhatWasSynced(t *testing.T) {
	for name, o := range map[string]loopfs.Options{
		"ext4": {Type: "ext4", Size: 64 << 20, Options: []string{"commit=1000"}},
		"xfs":  {Type: "xfs", Size: 320 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			fs := loopfs.Mount(t, o)
			synced, unsynced := filepath.Join(fs.Dir(), "synced"), filepath.Join(fs.Dir(), "unsynced")
			write(t, synced, true)
			write(t, unsynced, false)
			fs.Shutdown()
			if err := os.WriteFile(filepath.Join(fs.Dir(), "late"), nil, 0o600); err == nil {
				t.Error("a file was made after the cut")
			}
			fs.Remount()
			if got, err := os.ReadFile(synced); err != nil || string(got) != "kept" {
				t.Errorf("what was synced is %q, %v", got, err)
			}
			if got, err := os.ReadFile(unsynced); err == nil && string(got) == "kept" {
				t.Error("what was not synced survived the cut")
			}
		})
	}
}

func write(t *testing.T, name string, sync bool) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}
