package kv

import (
	"bytes"
	"os"
)

// zeroFill writes zeros into the live log, ahead of where Badger writes, while
// commits are small. A block that was only allocated is marked as unwritten, and
// the first sync of what is written to it has to write that mark too: of commits of
// 1 KiB one in three, which then waits for a second write, and on a file system
// with a journal for a commit of that (ext4: Documentation/filesystems/ext4,
// unwritten extents). Large commits share that among so many messages that it does
// not pay for writing the log twice.
//
// It works between two commits, on the committer's goroutine: nobody else writes to
// a log. A page that is not zero is left alone, so that what it believes of Badger
// can cost speed only. The zeros are durable with the next commit, which does not
// need them.
//
// Pages are written one by one: of a larger write the page cache makes one folio,
// and a sync writes all of it for a record of a few bytes (advise_linux.go).
type zeroFill struct {
	written int64 // where Badger writes next, or before that
	filled  int64 // zeros were written up to here
	mean    int64 // bytes of the last commits
	page    [pageSize]byte
}

const (
	fillBelow = 16 << 10      // bytes of a commit, on the average
	fillAhead = 64 << 10      // bytes that shall be filled
	fillStep  = 32 * pageSize // bytes at a time, in the tenth of a millisecond
	// Badger's header, checksum and lengths of an entry (structs.go, maxHeaderSize),
	// and the entry that ends a transaction.
	walEntryOverhead = 32
	walEndOverhead   = 64
)

// begin is told of a new log, before the commit that is in it.
func (z *zeroFill) begin() { z.written, z.filled = walHeader, 0 }

// committed is told what a commit has put into the log, at most. The log has its
// blocks up to room.
func (z *zeroFill) committed(log *os.File, n, room int64) {
	z.written += n
	z.mean += (n - z.mean) / 16
	if z.mean > fillBelow || z.filled >= z.written+fillAhead {
		return
	}
	from := max(z.filled, (z.written+pageSize-1)&^(pageSize-1))
	z.filled = min(from+fillStep, room)
	for at := from; at < z.filled; at += pageSize {
		if !z.fill(log, at) {
			z.filled = room // it is not worth another try in this log
		}
	}
}

// fill writes zeros over zeros.
func (z *zeroFill) fill(log *os.File, at int64) bool {
	var is [pageSize]byte
	if _, err := log.ReadAt(is[:], at); err != nil || !bytes.Equal(is[:], z.page[:]) {
		return err == nil
	}
	_, err := log.WriteAt(z.page[:], at)
	return err == nil
}
