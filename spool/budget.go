package spool

// What is read ahead of the forwarder takes at most Window bytes of memory, over all
// topics. Most of them are for whoever comes first. A part is divided evenly, so that
// a topic goes on also where the messages of others, which no broker takes, have
// filled the rest. A read goes on until what it brought in is as much as it may: it
// ends at most one message above that. What does not fit stays on disk. So all windows
// together take no more than Window, and two messages a topic.

const (
	// parted is the part of Window that is divided among the topics: one in so many.
	parted = 4
	// maxGrant bounds what one read brings in: the smallest messages take several
	// times as much in memory as on disk.
	maxGrant = 2 * refillBytes
	// maxReads bounds the reads that are made at a time, each of up to refillBytes
	// and a block besides what is in the windows.
	maxReads = 4
)

// room is what a read may bring in of what all topics share; 0: it is taken. s.mu is
// held.
func (s *Spool) room() int64 {
	return min(max(s.opts.Window-s.opts.Window/parted-s.windows-s.reading, 0), maxGrant)
}

// part is what l may have yet of its own, whatever the others have; a message at the
// least, where nothing of it is ready in memory, and at most one waits. s.mu is held.
func (s *Spool) part(l *lane) int64 {
	w := &l.window
	share := min(s.opts.Window/parted/int64(max(len(s.lanes), 1)), maxGrant)
	left := share - w.bytes - l.reading
	if w.queued == 0 && len(w.waiting)+len(w.leased) <= 1 && l.reading == 0 {
		left = max(left, 1)
	}
	return max(left, 0)
}

// grant lets a read of l bring in so much. s.mu is held.
func (s *Spool) grant(l *lane, to *int64, bytes int64) {
	*to = bytes
	s.reading += bytes
	l.reading += bytes
}

// granted ends a read's grant: what was brought in counts by itself. s.mu is held.
func (s *Spool) granted(l *lane, to *int64) (bytes int64) {
	bytes, *to = *to, 0
	s.reading -= bytes
	l.reading -= bytes
	return bytes
}
