package kv

import (
	"bytes"
	"fmt"
	"io"
)

// reach says how far tables go.
type reach struct {
	version uint64 // the largest one
	sealed  uint64 // version of the newest seal
	number  uint64 // which that one has
}

// note takes an entry of a table.
func (r *reach) note(e tableEntry) error {
	r.version = max(r.version, e.version)
	if bytes.Equal(e.key, sealKey) && e.version >= r.sealed {
		if number, _, ok := readSeal(e.value, e.version); ok {
			r.sealed, r.number = e.version, number
		}
	}
	return nil
}

// readSeal reads the first block of a table, where a seal is if it has one: no
// key of ours is smaller.
func (r *reach) readSeal(f io.ReaderAt, indexStart int64, first blockPlace) error {
	if !bytes.HasPrefix(first.key, sealKey) {
		return nil
	}
	if first.to > indexStart {
		return fmt.Errorf("first block ends at %d, after the index begins at %d", first.to, indexStart)
	}
	b := make([]byte, first.to-first.from)
	if _, err := f.ReadAt(b, first.from); err != nil {
		return err
	}
	var broken error
	read := tableReader{entry: r.note, broken: func(from, to int64, why error) { broken = &firstBlockError{from, to, why} }}
	if err := read.block(b, first, r.version); err != nil {
		return err
	}
	return broken
}

// firstBlockError is the error of a table whose first block is broken, and whose end is not.
type firstBlockError struct {
	from, to int64
	why      error
}

func (b *firstBlockError) Error() string { return b.why.Error() }

func (r *reach) extend(other reach) {
	r.version = max(r.version, other.version)
	if other.sealed > r.sealed || other.sealed == r.sealed && other.number > r.number {
		r.sealed, r.number = other.sealed, other.number
	}
}

// last is the number of the last commit in the tables, or if that is uncertain
// the least that it can be.
func (r *reach) last() uint64 { return max(r.number, r.version) }

// uncertain reports whether the seal of the newest version is not there: its table
// is gone, or cannot be read.
func (r *reach) uncertain() bool { return r.sealed < r.version }

// settle says what is known from elsewhere of the last commit.
func (r *reach) settle(number uint64) { r.sealed, r.number = r.version, max(r.number, number) }
