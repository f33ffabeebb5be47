package embedded

import (
	"bytes"
	"strings"
	"sync"

	"github.com/remora-mq/remora/internal/kv"
)

const (
	// aheadMost and aheadBytes bound what is read of a queue with one entry.
	aheadMost  = 64
	aheadBytes = 128 << 10
	// aheadFrom is how many messages have to wait for that: to begin a scan costs
	// as much as reading some entries one by one.
	aheadFrom = 4
)

// ahead are entries of a lane that were read together with one before them: they
// follow each other, and are taken once. Entries do not change, so they stay true.
type ahead struct {
	mu      sync.Mutex // held while reading, so that who comes next finds what is read
	first   int64      // offset of entries[0]
	entries []*entry   // nil where it was taken
}

// readAhead reads the entry of an offset that was taken from l, and those behind it
// where more wait. An error is that of the one entry.
func (b *Broker) readAhead(l *lane, offset int64) (*entry, error) {
	l.ahead.mu.Lock()
	defer l.ahead.mu.Unlock()
	if e := l.ahead.take(offset); e != nil {
		return e, nil
	}
	if offset < l.ahead.first || b.waiting(l, offset) < aheadFrom || strings.HasPrefix(l.track.topic, deadPrefix) {
		return readEntry(b.db, l.track.topic, l.queue, offset) // given back, or there is nothing to gain
	}
	l.ahead.first = offset
	l.ahead.entries = b.scanFrom(l.track.topic, l.queue, offset)
	if e := l.ahead.take(offset); e != nil {
		return e, nil
	}
	return readEntry(b.db, l.track.topic, l.queue, offset) // and say what is wrong with it
}

func (a *ahead) take(offset int64) *entry {
	at := offset - a.first
	if at < 0 || at >= int64(len(a.entries)) {
		return nil
	}
	e := a.entries[at]
	a.entries[at] = nil
	return e
}

// waiting is how many messages of the lane can be read from offset on.
func (b *Broker) waiting(l *lane, offset int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return l.source.visible - offset
}

// scanFrom reads the entries from an offset on, up to the first that is missing or
// cannot be read: it is told when it is read by itself.
func (b *Broker) scanFrom(topic string, queue int, offset int64) (entries []*entry) {
	size := 0
	from := entryKey(topic, queue, offset)
	err := b.db.Scan(kv.Scan{Prefix: from[:len(from)-8], From: from}, func(key, value []byte) (bool, error) {
		if !bytes.Equal(key, entryKey(topic, queue, offset+int64(len(entries)))) {
			return false, nil
		}
		e, err := decodeEntry(bytes.Clone(value))
		if err != nil {
			return false, nil //nolint:nilerr // as said
		}
		entries = append(entries, e)
		size += len(value)
		return len(entries) < aheadMost && size < aheadBytes, nil
	})
	if err != nil {
		return nil
	}
	return entries
}
