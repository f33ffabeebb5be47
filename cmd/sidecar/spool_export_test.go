package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A file whose writing fails, at its end too, does not appear, and leaves nothing.
func TestFileThatIsNotWholeDoesNotAppear(t *testing.T) {
	dir := t.TempDir()
	full := errors.New("no space is left")
	err := writeWhole(filepath.Join(dir, "export"), func(f *os.File) error {
		if _, err := f.WriteString("half"); err != nil {
			return err
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("failed with %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
