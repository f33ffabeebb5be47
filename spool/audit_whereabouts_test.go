package spool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A message that was delayed is found by its ID through an entry of its own: what
// is wrong with that is named.
func TestAuditNamesWhatLeadsAstray(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(e entry) (value []byte, deleted bool)
		says string
	}{
		"it is gone":         {func(entry) ([]byte, bool) { return nil, true }, "the ID of sequence 2 leads to 1"},
		"it leads elsewhere": {func(e entry) ([]byte, bool) { e.value[0] = 1; return reseal(e.value), false }, "the ID of sequence 2 leads to 1"},
		"to what is not yet": {func(e entry) ([]byte, bool) { e.value[0] = 99; return reseal(e.value), false }, "it leads to sequence 99, and 2 is the last one"},
		"it is damaged":      {func(e entry) ([]byte, bool) { e.value[0] ^= 1; return e.value, false }, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			id := r.accept(after(draft("t", "x"), time.Minute))[0].ID
			r.pass(c, time.Minute, 0)
			r.balanced()
			e := r.awaitEntry("sf")
			r.behind(func(tx *kv.Tx) {
				if v, deleted := tc.do(e); deleted {
					tx.Delete(e.key)
				} else {
					tx.Set(e.key, v)
				}
			})
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || !strings.Contains(strings.Join(a.Damage, "\n"), tc.says) {
				t.Errorf("%+v, %v; want one that says %q", a.Damage, err, tc.says)
			}
			r.doubted()
			r.reopen() // and mends it
			if got := r.receipt(id); got.State != message.StatePending {
				t.Errorf("%+v", got)
			}
			r.acknowledged(len(r.Damage().Reports))
			r.balanced()
			r.confirm(r.lease("t", 1))
			r.damaged("sf", flipLast)
			r.doubted()
			r.reopen() // and drops it: its message is settled
			r.acknowledged(1)
			r.balanced()
		})
	}
}

// awaitEntry waits until there is an entry on the disk: the ledger counts what a
// commit does before that.
func (r *rig) awaitEntry(prefix string) entry {
	r.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if found := r.find(prefix); len(found) > 0 {
			return found[0]
		}
		if time.Since(began) > time.Minute {
			r.t.Fatalf("there is no %s", prefix)
		}
	}
}

// A version that does not know a redrive would never forward what was redriven: so
// it has to refuse the spool, from the first one on.
func TestRedriveRaisesTheFormat(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.letter(draft("t", "x"))
	format := func() byte { return r.find("sh")[0].value[0] }
	if n := format(); n != 1 {
		t.Fatalf("the format is %d before", n)
	}
	r.redrive(id)
	for _, how := range []func(){func() {}, r.kill, func() { r.confirm(r.lease("t", 1)); r.reopen() }} {
		if how(); format() != 2 {
			t.Errorf("the format is %d", format())
		}
	}
}
