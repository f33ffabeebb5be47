package rocketmq

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Version of the RocketMQ that runs; pom.xml names the same.
const Version = "5.3.3"

//go:embed pom.xml
var pom []byte

// Jars returns the folder that holds RocketMQ's jars, and has Maven fetch them
// (about 90 MB) if this checkout has none yet. Processes that call it at the
// same time wait for one fetch. Without java or mvn the error says what to
// install.
func Jars() (string, error) {
	if _, err := lookTool("java"); err != nil {
		return "", err
	}
	root, err := checkoutRoot()
	if err != nil {
		return "", err
	}
	return fetchOnce(filepath.Join(root, ".build", "rocketmq-"+Version), runMaven)
}

// fetchOnce makes fetch fill home/lib, unless an earlier fetch of the same pom
// did: the marker is a copy of the pom, written after a success.
func fetchOnce(home string, fetch func(home string) error) (string, error) {
	lib, marker := filepath.Join(home, "lib"), filepath.Join(home, "complete")
	if isFetched(marker) {
		return lib, nil
	}
	if err := os.MkdirAll(home, 0o777); err != nil {
		return "", fmt.Errorf("make folder for RocketMQ's jars: %w", err)
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(home, "lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("lock folder of RocketMQ's jars: %w", err)
	}
	defer unlock()
	if isFetched(marker) {
		return lib, nil
	}
	if err := errors.Join(os.RemoveAll(lib), fetch(home)); err != nil {
		return "", fmt.Errorf("fetch jars of RocketMQ %s: %w", Version, err)
	}
	return lib, os.WriteFile(marker, pom, 0o666)
}

func isFetched(marker string) bool {
	content, err := os.ReadFile(marker)
	return err == nil && bytes.Equal(content, pom)
}

func runMaven(home string) error {
	mvn, err := lookTool("mvn")
	if err != nil {
		return err
	}
	file := filepath.Join(home, "pom.xml")
	if err := os.WriteFile(file, pom, 0o666); err != nil {
		return err
	}
	cmd := exec.Command(mvn, "-q", "-B", "-Dstyle.color=never", "-f", file, "dependency:copy-dependencies")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func lookTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("tests run a real RocketMQ and need Java and Maven; "+
			"on Debian: apt-get install default-jre-headless maven (%w)", err)
	}
	return path, nil
}

// checkoutRoot is the nearest folder above the working directory, which
// `go test` sets to the package's, that has a go.mod.
func checkoutRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above: run from a checkout", start)
		}
	}
}
