package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/remora-mq/remora/spool"
)

// disk is the blocks that a spool takes, in bytes.
type disk struct {
	all      int64
	prepared int64 // of these, blocks of logs that are not written yet
}

const mebibyte = 1 << 20

// readDisk adds up the files below dir. A log that is prepared is empty and has
// blocks.
func readDisk(dir string) (d disk, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			d.add(path, info.Size(), st.Blocks*512)
		}
		return nil
	})
	return d, err
}

func (d *disk) add(path string, size, blocks int64) {
	d.all += blocks
	if size == 0 && strings.HasSuffix(path, ".mem") {
		d.prepared += blocks
	}
}

// ignoreGone is for files that are removed while they are looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// receiptBytes is what the sidecar reckons for a receipt (sidecar.Capacity).
const receiptBytes = 128

// beyond is what is left, in MiB, of all that a spool takes when what it is meant
// to keep is taken off: prepared logs, and receipts and keys, which have budgets.
// There is no ballast here.
func (d disk) beyond(k spool.Known) float64 {
	kept := int64(min(k.Receipts, k.ReceiptsMax))*receiptBytes + min(k.DedupeBytes, k.DedupeMaxBytes)
	return float64(d.all-d.prepared-kept) / mebibyte
}
