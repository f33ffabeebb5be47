package spool_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// remembered is a spool with every kind of entry that a resend needs: one block
// of topic t is kept, with a payload and a cancelled message, one is half
// confirmed, and one message of the first is ordered to be sent again.
func remembered(t *testing.T, now func() time.Time) (r *rig, all []message.Receipt) {
	t.Helper()
	opts := retaining()
	opts.Now = now
	r = newRig(t, opts)
	all = r.accept(draft("t", "1"), draft("t", large('2')), draft("t", "cancelled"))
	if _, err := r.Cancel(t.Context(), all[2].ID); err != nil {
		t.Fatal(err)
	}
	r.confirmAll("t")
	all = append(all, r.accept(draft("t", "4"), draft("t", "pending"))...)
	r.confirm(r.lease("t", 1))
	r.flush()
	r.resend(spool.ResendFilter{IDs: []message.ID{all[0].ID}}, 1)
	r.reopen()
	r.balanced()
	return r, all
}

func TestAuditNamesWhatIsWrongWithWhatIsKept(t *testing.T) {
	// sv: bucket 8, sequence 8, topic 4, kind, bytes 4; the block comes first
	kept := func(r *rig, n int, do func(e *entry)) {
		e := r.find("sv")[n]
		was := bytes.Clone(e.key)
		do(&e)
		r.behind(func(tx *kv.Tx) { tx.Delete(was); tx.Set(e.key, e.value) })
	}
	seal := func(v ...byte) []byte { return reseal(append(v, 1, 0, 0, 0, 0)) }
	key := func(prefix string, seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte(prefix), seq) }
	for name, c := range map[string]struct {
		do   func(*rig)
		says string
	}{
		"a block that is not there":   {func(r *rig) { kept(r, 0, func(e *entry) { e.key[17] = 9 }) }, "is kept at sequence 9"},
		"a block of another topic":    {func(r *rig) { kept(r, 0, func(e *entry) { e.key[21] = 9 }) }, "of topic 9, the index says"},
		"a block of another size":     {func(r *rig) { kept(r, 0, func(e *entry) { e.value[0]++; reseal(e.value) }) }, "kept are 4 messages"},
		"a block that is pending":     {func(r *rig) { kept(r, 0, func(e *entry) { e.key[17] = 4; e.value[0] = 2; reseal(e.value) }) }, "5 is kept for a resend, and pending"},
		"a payload that is not there": {func(r *rig) { kept(r, 1, func(e *entry) { e.key[17] = 9 }) }, "kept of sequence 9"},
		"another payload":             {func(r *rig) { kept(r, 1, func(e *entry) { e.value[0]++; reseal(e.value) }) }, "another payload"},
		"a strange kind":              {func(r *rig) { kept(r, 1, func(e *entry) { e.key[22] = 'x' }) }, "'x', which is nothing"},
		"a damaged entry":             {func(r *rig) { r.damaged("sv", flipLast) }, "damaged"},
		"a damaged mark":              {func(r *rig) { r.damaged("sn", flipLast) }, "damaged"},
		"a mark of what is pending":   {func(r *rig) { r.behind(func(tx *kv.Tx) { tx.Set(key("sn", 5), seal()) }) }, "sequence 5 is barred"},
		"a mark of what is to come":   {func(r *rig) { r.behind(func(tx *kv.Tx) { tx.Set(key("sn", 99), seal()) }) }, "sequence 99 is barred"},
		"a damaged order":             {func(r *rig) { r.damaged("sg", flipLast) }, "damaged"},
		"an order of no topic":        {func(r *rig) { e := r.find("sg")[0]; e.key[5] = 9; r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) }) }, "topic is not known"},
		"an order of a cancelled one": {func(r *rig) { r.damaged("sg", func(v []byte) { v[1] |= 4; reseal(v) }) }, "sequence 3 is to be sent again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := remembered(t, time.Now)
			c.do(r)
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || !strings.Contains(strings.Join(a.Damage, "\n"), c.says) {
				t.Fatalf("balanced: %v (%v); damage %q, want one that says %q", a.Balanced, err, a.Damage, c.says)
			}
		})
	}
}

// What is damaged of what is kept costs no message, and is put right by the next
// opening that compares: what is still there is found, and ends with its time.
func TestDamageOfWhatIsKeptIsPutRight(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rig)
		want int // found by a resend
	}{
		"entries":              {func(r *rig) { each(r, "sv", flipLast) }, 2},
		"entries gone":         {func(r *rig) { r.removed("sv") }, 2},
		"a payload gone":       {func(r *rig) { r.removed("sx", "sc") }, 1},
		"blocks and all gone":  {func(r *rig) { r.removed("sm", "si") }, 0},
		"a mark":               {func(r *rig) { r.damaged("sn", flipLast) }, 2},
		"an order":             {func(r *rig) { r.damaged("sg", flipLast) }, 3},
		"entries and an order": {func(r *rig) { each(r, "sv", flipLast); r.damaged("sg", flipLast) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			r, all := remembered(t, clock.now)
			r.whileClosed(func() {
				c.do(r)
				r.damaged("sb", flipLast) // has all of it compared
			})
			r.acknowledged(len(r.Damage().Reports))
			r.balanced()
			for range 2 {
				got, err := r.Resend(t.Context(), spool.ResendFilter{IDs: []message.ID{all[0].ID, all[1].ID, all[3].ID}}, true)
				if err != nil || got.Messages != c.want {
					t.Fatalf("%+v (%v), want %d", got, err, c.want)
				}
				r.kill()
			}
			r.drained("t")
			r.flush()
			clock.advance(2 * time.Hour)
			if err := r.Expire(); err != nil {
				t.Fatal(err)
			}
			if left := len(r.find("sm")) + len(r.find("sv")) + len(r.find("sx")) + len(r.find("sc")); left > 0 {
				t.Errorf("%d entries are left: sm %v sv %x sx %v sc %v sg %v", left, len(r.find("sm")), r.find("sv"), len(r.find("sx")), len(r.find("sc")), len(r.find("sg")))
			}
		})
	}
}

// A dead letter that is lost with its entry is pending again, and so is not
// barred from being sent again any more.
func TestLostDeadLetterIsNotBarred(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "1"), draft("t", "2"), draft("t", "3"))
	leases := r.lease("t", 2)
	r.bury(leases[0])
	r.confirm(leases[1:])
	r.flush()
	r.whileClosed(func() {
		if len(r.find("sn")) != 1 {
			t.Fatal("the dead letter has no mark")
		}
		r.damaged("sd", flipLast)
		r.damaged("sb", flipLast)
	})
	r.acknowledged(len(r.Damage().Reports))
	r.balanced()
	if n := len(r.find("sn")); n > 0 {
		t.Errorf("%d marks are left", n)
	}
	r.drained("t")
}

// each damages all entries of a prefix.
func each(r *rig, prefix string, do func([]byte)) {
	for _, e := range r.find(prefix) {
		do(e.value)
		r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) })
	}
}
