package kv

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// walFile is one log of the directory.
type walFile struct {
	name string
	id   uint64
	scan logScan
}

// logs lists the logs, oldest first, without empty ones: those are prepared
// (nextlog.go), or what a power loss left of one. Badger refuses a name that is
// no number.
func (d *directory) logs() ([]walFile, error) {
	names, err := d.names(".mem")
	if err != nil {
		return nil, err
	}
	var logs []walFile
	for _, name := range names {
		id, err := strconv.ParseUint(strings.TrimSuffix(name, ".mem"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: log %s has no number: move it elsewhere", ErrDamaged, name)
		}
		if st, err := os.Stat(filepath.Join(d.path, name)); err == nil && st.Size() == 0 {
			continue
		}
		logs = append(logs, walFile{name: name, id: id})
	}
	slices.SortFunc(logs, func(a, b walFile) int { return cmp.Compare(a.id, b.id) })
	return logs, nil
}

// readFile calls fn with a file's bytes, which stand outside Go's heap: a log
// is twice a memtable long. What the disk cannot read is zeros.
func (d *directory) readFile(name string, fn func(data []byte, unreadable []Finding) error) error {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() == 0 {
		return fn(nil, nil)
	}
	data, err := unix.Mmap(-1, 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("make room for %s: %w", name, err)
	}
	defer func() { _ = unix.Munmap(data) }()
	unreadable, err := fillFrom(f, data, name)
	if err != nil {
		return err
	}
	return fn(data, unreadable)
}

const (
	readStep = 1 << 20
	pageSize = 4096
)

// fillFrom reads in large steps, and page by page where the disk fails.
func fillFrom(f io.ReaderAt, data []byte, name string) (unreadable []Finding, err error) {
	for at := 0; at < len(data); {
		step := min(readStep, len(data)-at)
		_, err := f.ReadAt(data[at:at+step], int64(at))
		switch {
		case err == nil, errors.Is(err, io.EOF):
		case !errors.Is(err, unix.EIO):
			return nil, fmt.Errorf("read %s: %w", name, err)
		default:
			unreadable = append(unreadable, pages(f, data[at:at+step], int64(at), name)...)
		}
		at += step
	}
	return unreadable, nil
}

func pages(f io.ReaderAt, data []byte, from int64, name string) (unreadable []Finding) {
	for at := 0; at < len(data); at += pageSize {
		page := data[at:min(at+pageSize, len(data))]
		if _, err := f.ReadAt(page, from+int64(at)); err != nil && !errors.Is(err, io.EOF) {
			clear(page)
			unreadable = append(unreadable, Finding{name, from + int64(at), from + int64(at+len(page)), err.Error()})
		}
	}
	return unreadable
}
