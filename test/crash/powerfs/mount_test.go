package powerfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestClientDies starts crashfs without the care of Mount, and stops reading
// and writing as a killed test does.
func TestClientDies(t *testing.T) {
	program, err := build()
	ok(t, err)
	dir := filepath.Join(t.TempDir(), "mnt")
	ok(t, os.Mkdir(dir, 0o700))
	cmd := exec.Command(program, "-mount", dir)
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	_, err = out.Read(make([]byte, 1)) // it is mounted
	ok(t, err)
	ok(t, out.Close())
	ok(t, in.Close())
	if err := cmd.Wait(); err != nil {
		t.Errorf("crashfs ended with %v", err)
	}
	if mounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
		ok(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	ok(t, err)
	return bytes.Contains(mounts, []byte(dir))
}

func TestMountIsGoneAfterTheTest(t *testing.T) {
	var dir string
	t.Run("with a writer that is held", func(t *testing.T) {
		fs := Mount(t, Options{})
		dir = fs.Dir()
		fs.HoldAt(1)
		fs.Start(exec.Command("touch", filepath.Join(dir, "a")))
		<-fs.Held()
	})
	if mounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
	}
	wantNone(t, dir)
}
