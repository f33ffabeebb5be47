package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// reseal puts a right CRC behind a changed value: the change is a lie, not damage.
func reseal(v []byte) []byte {
	b := v[:len(v)-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// highWaterAt is where the high water stands in a head: behind format, spool ID,
// device, inode and epoch.
func highWaterAt(v []byte) int {
	at := 1 + len(message.SpoolID{})
	for range 3 {
		_, n := binary.Uvarint(v[at:])
		at += n
	}
	return at
}

// Each way in which the books can be wrong has to be noticed, and named.
func TestAuditNamesWhatIsWrong(t *testing.T) {
	remove := func(prefix string) func(*rig) {
		return func(r *rig) {
			e := r.find(prefix)[0]
			r.behind(func(tx *kv.Tx) { tx.Delete(e.key) })
		}
	}
	change := func(prefix string, do func([]byte)) func(*rig) {
		return func(r *rig) {
			e := r.find(prefix)[0]
			do(e.value)
			r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) })
		}
	}
	flip := func(at int) func([]byte) { return func(v []byte) { v[at] ^= 2; reseal(v) } }
	damage := func(v []byte) { v[len(v)-1] ^= 1 }
	counter := len("t") + 1 // of the topic's entry: accepted
	tests := []struct {
		name    string
		do      func(*rig)
		missing []uint64
		says    string
	}{
		{"a block is deleted", remove("sm"), []uint64{2, 3}, `topic "t": the ledger holds`},
		{"an index is deleted", remove("si"), nil, "find the index"},
		{"an index lies", change("si", func(v []byte) { v[1]++; reseal(v) }), nil, "the index says"},
		{"an index of nothing", func(r *rig) {
			r.behind(func(tx *kv.Tx) { tx.Set([]byte("si\x00\x00\x00\x00\x00\x00\x00\x63"), []byte("x")) })
		}, nil, "an index of no block"},
		{"a record is damaged", change("sm", damage), []uint64{3}, "corrupt"},
		{"a settled bit is set", change("sb", func(v []byte) { v[0] |= 1 << 2; reseal(v) }), nil, "the ledger holds"},
		{"a settled bit is taken away", change("sb", func(v []byte) { v[0] &^= 1 << 4; reseal(v) }), []uint64{4}, "are settled"},
		{"a bitmap is deleted", remove("sb"), []uint64{1, 4}, "are settled"},
		{"a bitmap is damaged", change("sb", damage), []uint64{1, 4}, "damaged"},
		{"accepted counter", change("st", flip(counter)), nil, "accepted"},
		{"confirmed counter", change("st", flip(counter+1)), nil, "the ledger holds"},
		{"dead counter", change("st", flip(counter+6)), nil, "dead"},
		{"byte counter", change("st", flip(counter+7)), nil, "bytes"},
		{"number counter", change("st", func(v []byte) { v[len(v)-13]++; reseal(v) }), nil, "numbers were given"},
		{"exception counter", change("st", func(v []byte) { v[len(v)-12]++; reseal(v) }), nil, "exceptions"},
		{"an exception is deleted", remove("so"), nil, "exceptions, 0 were read"},
		{"an exception is damaged", change("so", damage), nil, "damaged"},
		{"an exception that is held", change("so", func(v []byte) { v[17] = 2; reseal(v) }), nil, "not settled"},
		{"a number that was not given", func(r *rig) {
			r.behind(r.rewrite(0, func(m *message.Message) { m.TopicSeq = 7 }))
		}, nil, "the last that was given is 6"},
		{"a number is given twice", func(r *rig) {
			r.behind(r.rewrite(1, func(m *message.Message) { m.TopicSeq = 2 }))
		}, nil, "has number 2 in its topic"},
		{"a number is the dead letter's", func(r *rig) {
			r.behind(r.rewrite(1, func(m *message.Message) { m.TopicSeq = 5 }))
		}, nil, "as another message"},
		{"a record of another origin", func(r *rig) {
			r.behind(r.rewrite(0, func(m *message.Message) { m.ID[0] ^= 1 }))
		}, nil, "the index says"},
		{"a topic is damaged", change("st", damage), []uint64{2, 3, 5, 6}, "damaged"},
		{"a delayed counter", change("st", func(v []byte) { v[len(v)-10]++; reseal(v) }), nil, "delayed"},
		{"a moved counter", change("st", func(v []byte) { v[len(v)-9]++; reseal(v) }), nil, "the ledger holds"},
		{"a TTL counter", change("st", func(v []byte) { v[len(v)-8]++; reseal(v) }), nil, "with a TTL"},
		{"a half counter", change("st", func(v []byte) { v[len(v)-7]++; reseal(v) }), nil, "half"},
		{"a pause", change("st", func(v []byte) { v[len(v)-6]++; reseal(v) }), nil, "the entry of that is gone"},
		{"a dead letter is deleted", remove("sd"), []uint64{5}, "dead"},
		{"a dead letter is damaged", change("sd", damage), []uint64{5}, "damaged"},
		{"a chunk set is deleted", remove("sx"), []uint64{6}, "find payload"},
		{"a chunk is deleted", remove("sc"), []uint64{6}, "read payload"},
		{"a chunk is damaged", change("sc", damage), []uint64{6}, "damaged"},
		{"the high water is lower", func(r *rig) {
			e := r.find("sh")[0]
			e.value[highWaterAt(e.value)]--
			r.behind(func(tx *kv.Tx) { tx.Set(e.key, reseal(e.value)) })
		}, nil, "above the last one"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := booked(t)
			tc.do(r)
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced {
				t.Fatalf("balanced: %v (%v)", a.Balanced, err)
			}
			if !slices.Equal(a.Missing, tc.missing) {
				t.Errorf("missing %v, want %v", a.Missing, tc.missing)
			}
			if !strings.Contains(strings.Join(a.Damage, "\n"), tc.says) {
				t.Errorf("damage %q, want one that says %q", a.Damage, tc.says)
			}
		})
	}
}

// rewrite changes the n-th message of all blocks and gives it a right CRC.
func (r *rig) rewrite(n int, do func(*message.Message)) func(*kv.Tx) {
	r.t.Helper()
	for _, e := range r.find("sm") {
		out, rest := bytes.Clone(e.value[:2]), e.value[2:]
		found := false
		for len(rest) > 0 {
			rec, size, err := message.DecodeRecord(rest)
			if err != nil {
				r.t.Fatal(err)
			}
			if n--; n == -1 && rec.PayloadSize == 0 {
				do(&rec.Message)
				out, found = message.AppendRecord(out, &rec.Message), true
			} else {
				out = append(out, rest[:size]...)
			}
			rest = rest[size:]
		}
		if found {
			return func(tx *kv.Tx) { tx.Set(e.key, out) }
		}
	}
	r.t.Fatal("no such message")
	return nil
}

// booked is a spool in whose books everything stands once: 1 confirmed, 2 and 3
// held, 4 cancelled, 5 dead, 6 held with its payload apart.
func booked(t *testing.T) *rig {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "1"))
	r.confirm(r.lease("t", 1))
	r.accept(under("key", draft("t", "2")), draft("t", "3"))
	id := r.accept(draft("t", "4"))[0].ID
	r.accept(draft("t", "5"))
	r.accept(draft("t", large('6')))
	if _, err := r.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	leases := r.lease("t", 3)
	r.Release(leases[:2])
	r.bury(leases[2])
	r.reopen()
	a := r.balanced()
	if a.Held != 4 || a.Settled != 2 || a.Ledger.Total.InSpool.Dead != 1 {
		t.Fatalf("%+v", a)
	}
	return r
}

// The first bitmap counts sequence 0, which no message has: but only when it is
// there.
func TestAuditBalancesWhenALaterRangeSettlesFirst(t *testing.T) {
	r := newRig(t, spool.Options{})
	var last message.ID
	for range 5 {
		for _, got := range r.accept(repeat(1000, draft("t", "x"))...) {
			last = got.ID
		}
	}
	if _, err := r.Cancel(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if a := r.balanced(); a.Settled != 1 || a.Held != 4999 {
		t.Fatalf("%+v", a)
	}
	r.confirm(r.lease("t", 4096))
	r.reopen()
	if a := r.balanced(); a.Settled != 4097 {
		t.Fatalf("%+v", a)
	}
	if n := len(r.find("sb")); n != 1 {
		t.Fatalf("%d bitmaps, want 1: the full one at the low end is not kept", n)
	}
}

func TestAuditEndsWithItsContextAndWithTheSpool(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Audit(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := r.Spool.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Audit(t.Context()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLedgerTellsEachState(t *testing.T) {
	r := booked(t)
	n := r.Ledger().Total
	want := map[message.State]uint64{message.StatePending: 3, message.StateDead: 1, message.StateConfirmed: 1, message.StateCancelled: 1}
	for _, s := range message.States() {
		if got := n.State(s); got != want[s] {
			t.Errorf("%s: %d, want %d", s, got, want[s])
		}
	}
	r.lease("t", 1)
	if n := r.Ledger().Topics["t"].InSpool; fmt.Sprint(n) != "{0 0 2 1 0 1}" {
		t.Errorf("%+v", n)
	}
}
