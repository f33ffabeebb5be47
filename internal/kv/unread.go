package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
)

// errUnread: it is not known whether what a compaction has read was whole.
var errUnread = errors.New("what a compaction was made from cannot be read now")

// checkRead tells of damage in the old tables of compactions. They are in the
// cache, as the compactions have read them. One that the system refuses to show
// is errUnread. While Badger closes one may be gone: nothing holds what was made
// since the closing began, a moment before it was read.
func (d *directory) checkRead(compactions []changeSet, closing bool) error {
	var refused error
	for _, s := range compactions {
		for _, c := range s.changes {
			if c.Op != pb.ManifestChange_DELETE {
				continue
			}
			name := tableFile{id: c.Id}.name()
			err := checkBlocks(filepath.Join(d.path, name))
			switch {
			case err == nil, closing && errors.Is(err, fs.ErrNotExist):
			case isRefusal(err):
				refused = fmt.Errorf("%w: %w", errUnread, err)
			default:
				return fmt.Errorf("%w: a compaction has read %s: %w", ErrDamaged, name, err)
			}
		}
	}
	return refused
}

// checkBlocks reads a table block by block, and checks what has a checksum in it.
func checkBlocks(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	index, end, err := readIndex(f)
	if err != nil {
		return err
	}
	var buf []byte
	for _, b := range index.blocks {
		if buf, err = readBlock(f, b, end, buf); err != nil {
			return err
		}
	}
	return nil
}
