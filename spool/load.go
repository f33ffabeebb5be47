package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// load reads what has to be in memory. Messages are read when a lane asks.
func (s *Spool) load() error {
	device, inode, err := place(s.opts.Dir)
	if err != nil {
		return err
	}
	v, err := s.db.Get(headKey)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("read head: %w", err)
	}
	if err == nil {
		if s.head, err = decodeHead(v); err != nil {
			return err
		}
	}
	if err := s.findKeys(); err != nil {
		return err
	}
	s.head.nextLife(device, inode)
	s.head.afterDamage(s.db.Damage())
	// A database that lost its tail may have lost the last epoch with it; its own
	// count of openings lies outside and is never behind.
	if n := s.db.Epoch(); n <= message.MaxEpoch {
		s.head.epoch = max(s.head.epoch, uint32(n))
	}
	s.settled.low = s.head.lowRange
	for _, step := range []func() error{s.loadLanes, s.loadBitmaps, s.loadDead, s.loadHolds, s.loadImported, s.loadEnded, s.loadKeys, s.loadReceipts, s.loadExceptions} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) loadLanes() error {
	return s.db.Scan(kv.Scan{Prefix: topicPrefix}, func(k, v []byte) (bool, error) {
		l, err := decodeLane(tail32(k, len(topicPrefix)), v)
		if err != nil {
			return false, err
		}
		s.addLane(l)
		l.window.loadedTo = max(l.cursor, 1) - 1
		s.held += int64(l.counts.bytes)
		if l.counts.held() > l.counts.dead {
			s.announce(l)
		}
		l.lastSeq = s.head.highWater
		return true, nil
	})
}

func (s *Spool) addLane(l *lane) {
	s.lanes[l.topic], s.byID[l.id] = l, l
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
	err := s.db.Scan(kv.Scan{Prefix: bitmapPrefix}, func(k, v []byte) (bool, error) {
		b, err := decodeBitmap(v)
		if err != nil {
			return false, fmt.Errorf("read bitmap: %w", err)
		}
		s.settled.ranges[tail64(k, len(bitmapPrefix))] = b
		return true, nil
	})
	if s.settled.low == 0 {
		s.settled.set(0) // no message has it; so the first range fills up as the others do
	}
	return err
}

func (s *Spool) loadDead() error {
	return s.db.Scan(kv.Scan{Prefix: deadPrefix, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		s.dead[tail64(k, len(deadPrefix)+4)] = s.byID[tail32(k, len(deadPrefix))]
		return true, nil
	})
}

func (s *Spool) loadEnded() error {
	return s.db.Scan(kv.Scan{Prefix: endedPrefix, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		s.ended[tail64(k, len(endedPrefix))] = true
		return true, nil
	})
}

// sweepChunks deletes the chunks of payloads whose record was never written:
// the process died between the two.
func (s *Spool) sweepChunks(ctx context.Context) error {
	exists := map[uint64]bool{}
	err := s.db.Scan(kv.Scan{Prefix: chunkSetPrefix}, func(_, v []byte) (bool, error) {
		set, _, err := decodeChunkSet(v)
		exists[set] = true
		return true, err
	})
	if err != nil {
		return fmt.Errorf("read chunk sets: %w", err)
	}
	var orphans [][]byte
	err = s.db.Scan(kv.Scan{Prefix: chunkPrefix, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		if !exists[tail64(k, len(chunkPrefix))] {
			orphans = append(orphans, append([]byte(nil), k...))
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
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
