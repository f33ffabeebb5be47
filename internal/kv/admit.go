package kv

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
)

// Closed is a database that is about to be opened: its directory is locked, and
// nothing in it is changed yet.
type Closed struct {
	dir   *directory
	log   *slog.Logger
	magic uint16
	note  []byte
}

// admit asks the owner whether the directory may be opened, and what the note is to
// be. A format that is too new is refused by what comes next.
func (d *directory) admit(ctx context.Context, opts Options) (note []byte, err error) {
	if opts.Owner == nil {
		return nil, nil
	}
	if _, err := d.checkManifest(opts.Magic); errors.Is(err, ErrFormat) {
		return nil, nil
	}
	h, _, _, err := d.readHead()
	if err != nil {
		return nil, err
	}
	return opts.Owner.Admits(ctx, &Closed{dir: d, log: opts.Logger, magic: opts.Magic, note: []byte(h.note)})
}

// Noted is the newest note; empty: there is none, or it cannot be read.
func (c *Closed) Noted() []byte { return c.note }

// Damaged reports whether anything is not as it was written, by reading all of it.
func (c *Closed) Damaged() (bool, error) {
	found, err := c.dir.inspect(true, c.magic)
	if err != nil {
		return false, err
	}
	return len(found.found) > 0, nil
}

// Entry is one version of a key in a file. Key and Value are only for the call.
type Entry struct {
	Key     []byte
	Version uint64
	Deleted bool
	Value   []byte
	Whole   bool // a checksum says that it is what was written; else any of it may be wrong
}

// Entries calls fn with all that can be read of the tables in use and the logs, old
// versions included, in no order. An error of fn ends it. It takes a second and more
// for each GiB.
func (c *Closed) Entries(ctx context.Context, fn func(Entry) error) error {
	found := inspection{}
	if err := found.inspectManifest(c.dir, c.magic); err != nil {
		return err
	}
	logs, err := c.dir.logs()
	if err != nil {
		return err
	}
	if len(found.tables)+len(logs) > 0 {
		c.log.Info("looking through everything in the database before anything is changed", "dir", c.dir.path)
	}
	for _, t := range found.tables {
		if err := c.file(ctx, t.name(), tableEntries(fn)); err != nil {
			return err
		}
	}
	for _, log := range logs {
		if err := c.file(ctx, log.name, func(data []byte) error { return logEntries(data, fn) }); err != nil {
			return err
		}
	}
	return nil
}

// file reads a file if it is there.
func (c *Closed) file(ctx context.Context, name string, read func(data []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.dir.readFile(name, func(data []byte, _ []Finding) error { return read(data) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func tableEntries(fn func(Entry) error) func(data []byte) error {
	tell := func(whole bool) func(tableEntry) error {
		return func(e tableEntry) error {
			return fn(Entry{Key: e.key, Version: e.version, Deleted: e.deleted, Value: e.value, Whole: whole})
		}
	}
	return tableReader{entry: tell(true), unsure: tell(false), broken: func(int64, int64, error) {}}.read
}

// logEntries tells of the entries of a log whose checksums hold. Behind a broken one
// the next is where its header says, or where one is found: in that case it may be
// part of a message, and is not believed.
func logEntries(data []byte, fn func(Entry) error) error {
	budget := 64 * len(data) // of bytes to sum
	whole := true
	for at := walHeader; at < len(data) && budget > 0; {
		e, ok := readEntry(data[at:])
		if !ok {
			var sum int
			at, sum, whole = nextEntry(data, at, whole)
			budget -= sum
			continue
		}
		if e.meta&bitTxn != 0 {
			if err := fn(Entry{Key: e.key, Version: e.version, Deleted: e.meta&bitDelete != 0, Value: e.value, Whole: whole}); err != nil {
				return err
			}
		}
		at += e.size
	}
	return nil
}

// nextEntry returns where to look behind a broken entry, and how many bytes were summed
// in vain. follows says that the header of the broken one leads there.
func nextEntry(data []byte, at int, trusted bool) (next, summed int, follows bool) {
	s, ok := readShape(data[at:])
	if ok {
		summed = min(s.size(), len(data)-at)
	}
	if ok && trusted && s.size() < len(data)-at {
		if e, found := readEntry(data[at+s.size():]); found {
			return at + s.size(), summed + e.size, true
		}
	}
	for at++; at < len(data)-1; at++ {
		if meta := data[at]; (meta&^bitDelete == bitTxn || meta == bitFinTxn) && data[at+1] == 0 {
			break
		}
	}
	return at, summed, false
}
