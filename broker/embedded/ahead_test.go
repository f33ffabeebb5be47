package embedded

import (
	"errors"
	"reflect"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
)

// aheadLane is a lane of a queue that holds so many messages.
func aheadLane(t *testing.T, b *Broker, n int) *lane {
	t.Helper()
	send(t, b, msgs(0, n)...)
	b.mu.Lock()
	defer b.mu.Unlock()
	name := msg(0).Topic
	return &lane{track: &track{group: "g", topic: name}, source: b.catalog.topics[name].queues[0]}
}

// wantEntry compares with what is read by itself.
func wantEntry(t *testing.T, b *Broker, l *lane, offset int64) {
	t.Helper()
	got, err := b.readAhead(l, offset)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readEntry(b.db, l.track.topic, l.queue, offset)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("offset %d: %+v, want %+v; %v", offset, got, want, err)
	}
}

func TestAheadGivesEachEntry(t *testing.T) {
	b := open(t, Options{Queues: 1})
	l := aheadLane(t, b, 2*aheadMost+5)
	for _, offset := range []int64{0, 3, 1, 2, 1, aheadMost - 1, aheadMost + 2, aheadMost + 1, 2*aheadMost + 3, 2*aheadMost + 4, 0} {
		wantEntry(t, b, l, offset)
	}
	if _, err := b.readAhead(l, 2*aheadMost+5); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

// TestAheadIsBounded: it holds so many entries, of so many bytes.
func TestAheadIsBounded(t *testing.T) {
	b := open(t, Options{Queues: 1})
	l := aheadLane(t, b, 2*aheadMost)
	wantEntry(t, b, l, 1)
	if n := len(l.ahead.entries); n != aheadMost || l.ahead.entries[0] != nil || l.ahead.entries[1] == nil {
		t.Errorf("%d entries, the first one %v", n, l.ahead.entries[0])
	}
	large := msg(500)
	large.Body = make([]byte, aheadBytes)
	send(t, b, large)
	send(t, b, msgs(501, 510)...)
	wantEntry(t, b, l, 2*aheadMost)
	if n := len(l.ahead.entries); n != 1 {
		t.Errorf("%d entries behind %d bytes", n-1, aheadBytes)
	}
}

// TestAheadStopsAtDamage: what cannot be read is told when it is read, and hides
// nothing before or behind it.
func TestAheadStopsAtDamage(t *testing.T) {
	b := open(t, Options{Queues: 1})
	l := aheadLane(t, b, 20)
	broken := pairsOp{{entryKey(l.track.topic, 0, 7), []byte("damaged")}}
	if err := b.queue.Commit(t.Context(), broken, 1000); err != nil {
		t.Fatal(err)
	}
	for offset := range int64(20) {
		if offset != 7 {
			wantEntry(t, b, l, offset)
		} else if _, err := b.readAhead(l, offset); !errors.Is(err, errEntry) {
			t.Errorf("damage: %v", err)
		}
	}
}
