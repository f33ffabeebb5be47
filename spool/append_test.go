package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// under gives a draft a dedupe key; the fingerprint follows the body.
func under(key string, d spool.Draft) spool.Draft {
	d.DedupeKey = key
	copy(d.Fingerprint[:], d.Body)
	return d
}

func TestSameKeyGivesTheSameReceipt(t *testing.T) {
	r := newRig(t, spool.Options{})
	for _, body := range []string{"small", large('L')} {
		key := body[:1]
		first := r.accept(under(key, draft("t", body)))[0]
		for _, how := range []func(){func() {}, r.reopen, r.kill} {
			how()
			again := r.accept(under(key, draft("t", body)))[0]
			if !again.Duplicate || again.ID != first.ID || !again.AcceptedAt.Equal(first.AcceptedAt) || again.State != message.StatePending {
				t.Fatalf("%+v, want the receipt of %v", again, first.ID)
			}
		}
	}
	if n := r.balanced().Held; n != 2 {
		t.Errorf("%d messages are held", n)
	}
	if n := len(r.find("sc")); n != 1 {
		t.Errorf("%d chunks, want the 1 of the large message", n)
	}
	r.confirm(r.lease("t", 1))
	r.confirm(r.lease("t", 1))
	if again := r.accept(under("s", draft("t", "small")))[0]; again.State != message.StateConfirmed || again.Confirmation == nil {
		t.Errorf("%+v", again)
	}
	r.none("t")
}

func TestSameKeyWithOtherContentIsRefused(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(under("k", draft("t", "a")))
	tests := []struct {
		name   string
		drafts []spool.Draft
		index  int
	}{
		{"known", []spool.Draft{draft("t", "x"), under("k", draft("t", "b"))}, 1},
		{"within one unit", []spool.Draft{under("n", draft("t", "b")), under("n", draft("t", "c"))}, 1},
		{"large", []spool.Draft{under("k", draft("t", large('L')))}, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.Append(t.Context(), tc.drafts)
			var d *spool.DraftError
			if !errors.Is(err, spool.ErrKeyReused) || !errors.As(err, &d) || d.Index != tc.index {
				t.Fatal(err)
			}
		})
	}
	if n := r.Ledger().Total.Accepted; n != 1 {
		t.Errorf("%d messages were accepted", n)
	}
	if n := len(r.find("sc")); n != 0 {
		t.Errorf("%d chunks of refused messages are left", n)
	}
	if got := r.accept(under("k", draft("other", "b")))[0]; got.Duplicate {
		t.Error("a key is scoped to its topic")
	}
}

func TestOneKeyInOneCommitIsOneMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	const callers = 50
	got := make(chan message.Receipt)
	for range callers {
		go func() {
			receipts, err := r.Append(t.Context(), []spool.Draft{under("k", draft("t", large('L')))})
			if err != nil {
				t.Error(err)
				receipts = []message.Receipt{{}}
			}
			got <- receipts[0]
		}()
	}
	ids, originals := map[message.ID]int{}, 0
	for range callers {
		r := <-got
		ids[r.ID]++
		if !r.Duplicate {
			originals++
		}
	}
	if len(ids) != 1 || originals != 1 {
		t.Fatalf("%d IDs, %d of them not duplicates", len(ids), originals)
	}
	if n := len(r.find("sc")); n != 1 {
		t.Errorf("%d chunks, want 1", n)
	}
	r.balanced()
}

func TestCancelledKeyStaysTaken(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(under("k", draft("t", "a")))[0].ID
	if _, err := r.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		if _, err := r.Append(t.Context(), []spool.Draft{under("k", draft("t", "a"))}); !errors.Is(err, spool.ErrKeySettled) {
			t.Fatal(err)
		}
	}
}

func TestBatchIsAcceptedWholeOrNotAtAll(t *testing.T) {
	r := newRig(t, spool.Options{MaxTopics: 2})
	r.accept(draft("a", "1"))
	batch := []spool.Draft{draft("a", "2"), draft("b", large('L')), draft("c", "3")}
	if _, err := r.Append(t.Context(), batch); !errors.Is(err, spool.ErrTooManyTopics) {
		t.Fatal(err)
	}
	if n := r.Ledger(); n.Total.Accepted != 1 || len(n.Topics) != 1 {
		t.Fatalf("%+v", n)
	}
	if n := len(r.find("sc")); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	receipts := r.accept(batch[:2]...)
	if receipts[0].Topic != "a" || receipts[1].Topic != "b" {
		t.Fatalf("%+v", receipts)
	}
	r.reopen()
	if _, err := r.Append(t.Context(), batch[2:]); !errors.Is(err, spool.ErrTooManyTopics) {
		t.Fatal(err)
	}
	r.balanced()
}

func TestFullSpoolRefusesWhatIsNewOnly(t *testing.T) {
	r := newRig(t, spool.Options{Limit: 1000})
	body := strings.Repeat("x", 900)
	first := r.accept(under("k", draft("t", body)))[0]
	if _, err := r.Append(t.Context(), []spool.Draft{draft("t", body)}); !errors.Is(err, spool.ErrFull) {
		t.Fatal(err)
	}
	again := r.accept(under("k", draft("t", body)))[0]
	if !again.Duplicate || again.ID != first.ID {
		t.Fatalf("%+v", again)
	}
	r.reopen()
	if _, err := r.Append(t.Context(), []spool.Draft{draft("t", body)}); !errors.Is(err, spool.ErrFull) {
		t.Fatal(err)
	}
	r.confirm(r.lease("t", 0))
	r.reopen()
	r.accept(draft("t", body))
}

func TestEveryOperationFitsWhatItDeclares(t *testing.T) {
	small := kv.Options{MemTableSize: 1 << 20}
	tests := []struct {
		name   string
		db     kv.Options
		drafts []spool.Draft
	}{
		{"a thousand topics", kv.Options{}, manyTopics(1000)},
		{"a thousand of two topics in turn, small memtable", kv.Options{MemTableSize: 4 << 20}, twoTopics(1000)},
		{"a thousand with many keys", kv.Options{}, manyKeys(1000)},
		{"a thousand stored apart", kv.Options{}, repeat(1000, draft("t", strings.Repeat("x", 2000)))},
		{"the largest body", kv.Options{}, []spool.Draft{draft("t", strings.Repeat("x", message.MaxBody))}},
		{"many settled at once", kv.Options{}, repeat(1000, draft("t", "x"))},
		{"many of the smallest", kv.Options{}, repeat(3000, draft("t", ""))},
		{"the largest body, small memtable", small, []spool.Draft{draft("t", strings.Repeat("x", message.MaxBody))}},
		{"half inline, small memtable", small, repeat(4, draft("t", strings.Repeat("x", 60<<10)))},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { fits(t, spool.Options{MaxTopics: 2000}, tc.db, tc.drafts) })
		t.Run(tc.name+", encrypted", func(t *testing.T) {
			fits(t, spool.Options{MaxTopics: 2000, Keys: ring(1)}, tc.db, tc.drafts)
		})
	}
}

// fits settles all drafts; the rig compares each commit with what was declared.
func fits(t *testing.T, opts spool.Options, db kv.Options, drafts []spool.Draft) {
	r := newRigOn(t, opts, db)
	r.accept(drafts...)
	for topic := range r.Ledger().Topics {
		leases := r.lease(topic, 0)
		for i, l := range leases {
			if !bytes.Equal(l.Body, drafts[len(drafts)-len(leases)+i].Body) && len(leases) == len(drafts) {
				t.Fatalf("body %d is not what it was", i)
			}
		}
		r.confirm(leases)
	}
	r.reopen()
	if n := r.balanced().Ledger.Total; n.Confirmed != uint64(len(drafts)) {
		t.Fatalf("%+v", n)
	}
	if left := len(r.find("sc")) + len(r.find("sx")) + len(r.find("sm")) + len(r.find("si")); left != 0 {
		t.Fatalf("%d entries are left of what is settled", left)
	}
}

func repeat(n int, d spool.Draft) (all []spool.Draft) {
	for range n {
		all = append(all, d)
	}
	return all
}

func manyTopics(n int) (all []spool.Draft) {
	for i := range n {
		topic := fmt.Sprintf("%0*d", message.MaxTopic, i)
		all = append(all, under("key", keyed(topic, "x", strings.Repeat("o", 255))))
	}
	return all
}

func twoTopics(n int) (all []spool.Draft) {
	for i := range n {
		all = append(all, draft([]string{"one", "two"}[i%2], strings.Repeat("x", 50)))
	}
	return all
}

func manyKeys(n int) (all []spool.Draft) {
	for i := range n {
		d := under(fmt.Sprint(i), draft("t", "x"))
		for range 127 {
			d.Keys = append(d.Keys, "k")
		}
		all = append(all, d)
	}
	return all
}

// Thousands of confirmations at once are more than one commit takes.
func TestConfirmationsOfAnyNumberAreRecorded(t *testing.T) {
	r := newRig(t, spool.Options{})
	for range 5 {
		r.accept(repeat(1000, draft("t", "x"))...)
	}
	r.confirm(r.lease("t", 0))
	r.reopen()
	if n := r.balanced().Ledger.Total; n.Confirmed != 5000 {
		t.Fatalf("%+v", n)
	}
}
