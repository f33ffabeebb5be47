package kv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// startsName counts the starts that neither succeeded nor failed in order: they
// died, maybe of what they read.
const startsName = "STARTS"

const (
	// Having died once, the next start reads every block of every table.
	deepAfter = 1
	// Having died again, it moves to a fresh directory whatever it finds.
	salvageAfter = 2
)

// beginStart returns how many starts died, and counts this one. The directory
// is synced before Badger is opened; a count whose bytes are lost is 1.
func (d *directory) beginStart() (died int, err error) {
	data, err := os.ReadFile(filepath.Join(d.path, startsName))
	if err == nil {
		died, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		died = max(died, 1)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return died, os.WriteFile(filepath.Join(d.path, startsName), strconv.AppendInt(nil, int64(died+1), 10), 0o600)
}

// endStart takes the count back: this start has not died. Should a power loss
// undo it, the next start reads more than it needs to.
func (d *directory) endStart() error {
	err := os.Remove(filepath.Join(d.path, startsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
