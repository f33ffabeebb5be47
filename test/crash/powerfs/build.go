package powerfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// build makes the crashfs binary once a process and returns its path.
var build = sync.OnceValues(func() (string, error) {
	return Build("./test/crash/crashfs")
})

// Build compiles a main package of this repository, named from its root, into
// the root's .build folder, and returns the program's path. Test processes
// that build at the same time take turns; Go's cache makes it quick.
func Build(pkg string) (string, error) {
	root, err := Repository()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, ".build")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	unlock, err := lock(filepath.Join(folder, filepath.Base(pkg)+".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	defer unlock()
	return compile(root, pkg, filepath.Join(folder, filepath.Base(pkg)))
}

// compile replaces the program by a rename: an old one may be running.
func compile(root, pkg, program string) (string, error) {
	cmd := exec.Command("go", "build", "-o", program+".new", pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	if err := os.Rename(program+".new", program); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return program, nil
}

// Repository finds the folder of go.mod above the test's.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find repository: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}
