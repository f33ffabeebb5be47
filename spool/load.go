package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// load reads what has to be in memory. Messages are read when a lane asks. An
// entry that cannot be read is doubted, and stops nothing.
func (s *Spool) load() error {
	device, inode, err := place(s.opts.Dir)
	if err != nil {
		return err
	}
	if err := s.loadHead(); err != nil {
		return err
	}
	if err := s.findKeys(); err != nil {
		return err
	}
	found := s.head
	s.clock = newSpoolClock(s.opts.Now(), found, s.opts.Elapsed)
	s.wallApart, s.receipts.opened = s.wallAhead(), nanos(s.clock.time())
	s.head.nextLife(device, inode)
	s.head.afterDamage(s.db.Damage())
	// A database that lost its tail may have lost the last epoch with it; its own
	// count of openings lies outside and is never behind.
	s.raiseEpoch()
	s.settled.startAt(s.head.lowRange)
	for _, step := range []func() error{
		s.loadDamage, s.loadLanes, s.loadPauses, s.loadBitmaps, s.loadDead, s.loadRedriven, s.loadHolds, s.loadImported, s.loadEnded, s.loadKeys, s.loadReceipts, s.loadExceptions,
		s.loadChunkSets, s.loadRetained, s.loadCopies, s.loadBindings, s.loadTransactions, s.loadNames,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	s.foundStep(found)
	return nil
}

func (s *Spool) raiseEpoch() {
	if n := s.db.Epoch(); n <= message.MaxEpoch {
		s.head.epoch = max(s.head.epoch, uint32(n))
	}
}

// loadHead reads the head, or what HEAD noted of it.
func (s *Spool) loadHead() error {
	v, err := s.db.Get(headKey)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("read head: %w", err)
	}
	known, noted := decodeNote(s.db.Noted())
	if err == nil {
		s.head, err = decodeHead(v)
	} else if !noted {
		return nil // new, or the comparison of counters finds out
	}
	if errors.Is(err, ErrFormat) {
		return err
	}
	if err != nil {
		s.doubt(headKey, v, err)
		s.head = known.head
	}
	return nil
}

// doubts are the entries that could not be read at open.
type doubts []doubted

type doubted struct {
	pair // its own copies
	why  error
}

func (d doubted) String() string { return fmt.Sprintf("%s: %v", nameOf(d.key), d.why) }

func (s *Spool) doubt(k, v []byte, why error) {
	s.doubts = append(s.doubts, doubted{pair{bytes.Clone(k), bytes.Clone(v)}, why})
}

// scanAll calls fn with each entry of a prefix. What fn cannot read, and a key
// of another length, is doubted.
func (s *Spool) scanAll(prefix []byte, fn func(k, v []byte) error) error {
	return s.scan(kv.Scan{Prefix: prefix}, fn)
}

func (s *Spool) scan(what kv.Scan, fn func(k, v []byte) error) error {
	what.Whole = true
	return s.db.Scan(what, func(k, v []byte) (bool, error) {
		err := errDamaged
		if fits(k) {
			err = fn(k, v)
		}
		if isNewer(err) {
			return false, err
		}
		if err != nil {
			s.doubt(k, v, err)
		}
		return true, nil
	})
}

// isNewer tells what a newer version wrote from damage.
func isNewer(err error) bool { return errors.Is(err, ErrFormat) || errors.Is(err, message.ErrVersion) }

// headLost reports whether the head could not be read, or was never written.
func (s *Spool) headLost() bool {
	return s.head.spoolID == message.SpoolID{} || slices.ContainsFunc(s.doubts, func(d doubted) bool { return string(d.key) == string(headKey) })
}

func (s *Spool) loadLanes() error {
	return s.scanAll(topicPrefix, func(k, v []byte) error {
		l, err := decodeLane(tail32(k, len(topicPrefix)), v)
		if err == nil && s.lanes[l.topic] != nil {
			err = fmt.Errorf("its topic has another: %w", errDamaged)
		}
		if err != nil {
			return err
		}
		s.addLane(l)
		l.window.loadedTo = max(l.cursor, 1) - 1
		s.held += int64(l.counts.bytes)
		if s.delayed += l.counts.delayed; l.counts.delayed+l.counts.moved > 0 {
			s.head.format = max(s.head.format, 2)
		}
		if s.ttl.held += l.counts.expiring; l.counts.expiring > 0 {
			s.head.format = max(s.head.format, formatTTL)
		}
		if s.half += l.counts.half; l.counts.half > 0 {
			s.head.format = max(s.head.format, formatHalf)
		}
		if l.counts.waiting() > 0 {
			s.announce(l)
		}
		l.lastSeq = s.head.highWater
		return nil
	})
}

func (s *Spool) addLane(l *lane) {
	s.lanes[l.topic], s.byID[l.id] = l, l
	s.inTurn = append(s.inTurn, l)
}

// announce makes NextTopic tell of l, once in a process.
func (s *Spool) announce(l *lane) {
	if l.announced {
		return
	}
	l.announced = true
	s.fresh = append(s.fresh, l.topic)
	s.topics.raise()
}

func (s *Spool) loadBitmaps() error {
	err := s.scanAll(bitmapPrefix, func(k, v []byte) error {
		b, err := decodeBitmap(v)
		if err == nil {
			s.settled.load(tail64(k, len(bitmapPrefix)), b)
		}
		return err
	})
	if s.settled.low == 0 {
		s.settled.set(0) // no message has it; so the first range fills up as the others do
	}
	return err
}

func (s *Spool) loadDead() error {
	return s.scan(kv.Scan{Prefix: deadPrefix, KeysOnly: true}, func(k, _ []byte) error {
		l := s.byID[tail32(k, len(deadPrefix))]
		if l == nil {
			return errNoTopic
		}
		if seq := tail64(k, len(deadPrefix)+4); !s.settled.has(seq) { // else its deletion is lost
			s.dead[seq] = l
		}
		return nil
	})
}

var errNoTopic = errors.New("its topic is not known")

func (s *Spool) loadEnded() error {
	return s.scan(kv.Scan{Prefix: endedPrefix, KeysOnly: true}, func(k, _ []byte) error {
		s.ended[tail64(k, len(endedPrefix))] = true
		return nil
	})
}

// loadChunkSets learns which chunks belong to a record.
func (s *Spool) loadChunkSets() error {
	s.sets = map[uint64]bool{}
	return s.scanAll(chunkSetPrefix, func(_, v []byte) error {
		set, _, err := decodeChunkSet(v)
		s.sets[set] = true
		return err
	})
}

// sweepChunks deletes the chunks of payloads whose record was never written:
// the process died between the two.
func (s *Spool) sweepChunks(ctx context.Context) error {
	var orphans [][]byte
	err := s.scan(kv.Scan{Prefix: chunkPrefix, KeysOnly: true}, func(k, _ []byte) error {
		if !s.sets[tail64(k, len(chunkPrefix))] {
			orphans = append(orphans, bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	s.sets = nil
	return s.deleteAll(ctx, orphans)
}

// deleteAll deletes keys, some thousand a transaction.
func (s *Spool) deleteAll(ctx context.Context, keys [][]byte) error {
	const some = 1000
	for len(keys) > 0 {
		n := min(some, len(keys))
		if err := s.commit(ctx, &deletion{keys[:n]}); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
