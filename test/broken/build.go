package broken

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/remora-mq/remora/test/crash/powerfs"
)

// Change is how a build differs from what ships.
type Change struct {
	file, was, is string // text that the file has once; was "": the file is new
	tag           string
}

// Replaced changes text that a file, named from the root, has exactly once.
func Replaced(file, was, is string) Change { return Change{file: file, was: was, is: is} }

// Added is a file more.
func Added(file, text string) Change { return Change{file: file, is: text} }

// Tagged builds with a tag.
func Tagged(tag string) Change { return Change{tag: tag} }

// Build compiles ./cmd/sidecar with changes to folder/name, and returns that path. The
// checkout stays as it is.
func Build(folder, name string, changes ...Change) (path string, err error) {
	path = filepath.Join(folder, name)
	if err := build(path, changes); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}

func build(path string, changes []Change) error {
	root, err := powerfs.Repository()
	if err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-o", path}
	overlay := map[string]string{}
	for n, c := range changes {
		if c.tag != "" {
			args = append(args, "-tags", c.tag)
			continue
		}
		with, file := fmt.Sprintf("%s-%d.go", path, n), filepath.Join(root, c.file)
		from := file
		if earlier, ok := overlay[file]; ok {
			from = earlier
		}
		if err := c.write(from, with); err != nil {
			return err
		}
		overlay[file] = with
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".json", text, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", append(args, "-overlay", path+".json", "./cmd/sidecar")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// write makes the changed copy of a file.
func (c Change) write(from, path string) error {
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
