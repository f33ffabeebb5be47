package seen

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// Options of a Store.
type Options struct {
	// Limit is how many bytes of disk notes may take, about; 0: 16 MiB. Above it the
	// lowest numbers are forgotten, of the origin that has most; how far, is told.
	Limit int64
	// Room says why the volume has no room for notes: none is made then, and the
	// stream is unsure. nil: there is room.
	Room func() error
	// Keys encrypt the names of groups and topics; nil: they are plain.
	Keys *keyring.Ring
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Logger is told of damage; nil: nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Limit == 0 {
		o.Limit = 16 << 20
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// maxCached blocks are in memory.
const maxCached = 4096

// Store has the notes of a process.
type Store struct {
	o     Options
	db    *kv.DB
	queue *kv.Queue[*op]

	mu      sync.Mutex
	streams []*Stream
	last    uint32 // id of the newest stream
	places  map[place]*extent

	// the committer's
	cache  map[address]*block
	blocks int // on disk
}

// extent is where the blocks of a place are.
type extent struct {
	blocks    int
	low       uint64 // no block is below
	forgotten uint64 // numbers up to here
}

// Open attaches the store to db, which the caller closes after the store.
func Open(db *kv.DB, o Options) (*Store, error) {
	s := &Store{o: o.withDefaults(), db: db, places: map[place]*extent{}, cache: map[address]*block{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open the notes of handled messages: %w", err)
	}
	s.queue = kv.Attach(db, s)
	return s, nil
}

// Close ends lazy streams as those that nothing was forgotten of.
func (s *Store) Close() error {
	s.mu.Lock()
	size := opSize * (1 + len(s.streams))
	s.mu.Unlock()
	err := s.queue.Commit(context.Background(), &op{end: true}, size)
	if errors.Is(err, kv.ErrFenced) || errors.Is(err, kv.ErrClosed) {
		return nil // the next opening finds that they were not ended
	}
	return err
}

func (s *Store) load() error {
	for _, load := range []func() error{s.loadStreams, s.loadRunning, s.loadForgotten, s.loadExtents} {
		if err := load(); err != nil {
			return err
		}
	}
	if s.db.Damage() == nil {
		return nil
	}
	for _, st := range s.streams { // what was salvaged may have lost notes
		st.doubt(s.o.Now())
	}
	return nil
}

func (s *Store) loadStreams() error {
	return s.db.Scan(kv.Scan{Prefix: metaPrefix, Whole: true}, func(k, v []byte) (bool, error) {
		if len(k) == len(metaPrefix)+4 {
			s.last = max(s.last, binary.BigEndian.Uint32(k[len(metaPrefix):]))
		}
		st, err := decodeStream(bytes.Clone(k), bytes.Clone(v), s.o.Keys)
		if err != nil { // begun anew by whoever notes for it
			s.o.Logger.Warn("notes of handled messages cannot be read, and begin anew", "key", fmt.Sprintf("%q", k), "error", err)
			return true, nil
		}
		st.store = s
		if current := s.currentKey(); st.metaOf != current {
			st.rewrites = true
		}
		s.streams = append(s.streams, st)
		return true, nil
	})
}

func (s *Store) currentKey() string {
	if s.o.Keys == nil {
		return ""
	}
	id := s.o.Keys.Current()
	return string(id[:])
}

// loadRunning finds the streams whose last notes a crash may have forgotten.
func (s *Store) loadRunning() error {
	return s.db.Scan(kv.Scan{Prefix: runningPrefix, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		for _, st := range s.streams {
			if bytes.Equal(k, streamKey(runningPrefix, st.id)) {
				st.doubt(s.o.Now())
			}
		}
		return true, nil
	})
}

func (s *Store) loadForgotten() error {
	return s.db.Scan(kv.Scan{Prefix: forgottenPrefix, Whole: true}, func(k, v []byte) (bool, error) {
		if p, ok := readPlace(k); ok && len(v) == 8 {
			s.extent(p).forgotten = binary.BigEndian.Uint64(v)
		}
		return true, nil
	})
}

func (s *Store) loadExtents() error {
	return s.db.Scan(kv.Scan{Prefix: blockPrefix, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		a, ok := readAddress(k)
		if !ok {
			return true, nil
		}
		x := s.extent(a.place)
		if x.blocks == 0 {
			x.low = a.block
		}
		x.blocks++
		s.blocks++
		return true, nil
	})
}

// extent of a place. mu is held, or nobody else is there.
func (s *Store) extent(p place) *extent {
	if s.places[p] == nil {
		s.places[p] = &extent{}
	}
	return s.places[p]
}
