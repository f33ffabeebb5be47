package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// load fills the catalog from the database and sweeps chunks that no entry owns.
func (b *Broker) load(ctx context.Context) error {
	b.mu.Lock()
	err := errors.Join(b.loadPosition(), b.loadTopics(), b.loadGroups(), b.loadDelayed())
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	orphans, err := b.loadUnits()
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for keys := range slices.Chunk(orphans, 1000) {
		if err := b.queue.Commit(ctx, dropOp(keys), len(keys)*dropSize); err != nil {
			return fmt.Errorf("sweep chunks without a message: %w", err)
		}
	}
	return nil
}

func (b *Broker) loadPosition() (err error) {
	b.catalog.position, err = readCount(b.db, []byte(positionKey))
	return err
}

func (b *Broker) loadTopics() error {
	return b.db.Scan(kv.Scan{Prefix: []byte(topicPrefix), Whole: true}, func(key, value []byte) (bool, error) {
		t, err := decodeTopic(string(key[prefixLen:]), value)
		if err == nil {
			b.catalog.topics[t.name] = t
		}
		return err == nil, err
	})
}

func (b *Broker) loadGroups() error {
	return b.db.Scan(kv.Scan{Prefix: []byte(groupPrefix), Whole: true}, func(key, value []byte) (bool, error) {
		group, topic, ok := splitGroupKey(key)
		if !ok {
			return false, fmt.Errorf("key %q: %w", key, errEntry)
		}
		tr, err := decodeTrack(group, topic, value)
		if err != nil {
			return false, err
		}
		if t := b.catalog.topics[topic]; t != nil {
			tr.extend(t)
		}
		b.catalog.group(group).tracks[topic] = tr
		return true, nil
	})
}

func (b *Broker) loadDelayed() error {
	var found []delayed
	err := b.db.Scan(kv.Scan{Prefix: []byte(delayPrefix), KeysOnly: true, Whole: true}, func(key, _ []byte) (bool, error) {
		d, ok := splitDelayKey(key)
		if !ok {
			return false, fmt.Errorf("key %q: %w", key, errEntry)
		}
		found = append(found, d)
		b.catalog.delaySeq = max(b.catalog.delaySeq, d.seq)
		return true, nil
	})
	b.catalog.schedule = newSchedule(found)
	return err
}

// loadUnits finds the last unit given out, and the chunks that no entry owns:
// of calls that a crash ended between a payload and its message.
func (b *Broker) loadUnits() (orphans [][]byte, err error) {
	var last uint64
	owned := true
	err = b.db.Snapshot(func(r kv.Reader) error {
		return r.Scan(kv.Scan{Prefix: []byte(chunkPrefix), KeysOnly: true, Whole: true}, func(key, _ []byte) (bool, error) {
			unit, ok := unitOfChunk(key)
			if !ok {
				return false, fmt.Errorf("key %q: %w", key, errEntry)
			}
			if unit != last {
				n, err := readCount(r, unitKey(unit))
				if err != nil {
					return false, err
				}
				last, owned = unit, n > 0
			}
			if !owned {
				orphans = append(orphans, slices.Clone(key))
			}
			return true, nil
		})
	})
	b.units.Store(last)
	return orphans, err
}
