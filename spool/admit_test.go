package spool_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// TestFullSpoolReopensAtTheLowWaterMark fills to the high-water mark, and cancels
// one by one until messages are taken again.
func TestFullSpoolReopensAtTheLowWaterMark(t *testing.T) {
	r := newRig(t, spool.Options{Limit: 10_000})
	body := strings.Repeat("x", 99) // and the topic: 100 bytes
	receipts := r.accept(repeat(100, draft("t", body))...)
	if r.Full() {
		t.Fatal("full before anything was refused")
	}
	for left := 100; left > 90; left-- {
		if _, err := r.Append(t.Context(), []spool.Draft{draft("t", body)}); !errors.Is(err, spool.ErrFull) || !r.Full() {
			t.Fatalf("with %d messages: %v, full %t", left, err, r.Full())
		}
		if _, err := r.Cancel(t.Context(), receipts[left-1].ID); err != nil {
			t.Fatal(err)
		}
	}
	if r.Full() {
		t.Error("still full at the low-water mark")
	}
	r.accept(draft("t", body))
}

// TestALargeMessageClosesTheSpoolForNobody: it does not fit, and others do.
func TestALargeMessageClosesTheSpoolForNobody(t *testing.T) {
	r := newRig(t, spool.Options{Limit: 10_000})
	r.accept(draft("t", strings.Repeat("x", 5000)))
	if _, err := r.Append(t.Context(), []spool.Draft{draft("t", strings.Repeat("x", 6000))}); !errors.Is(err, spool.ErrFull) {
		t.Fatal(err)
	}
	r.accept(draft("t", "small"))
}

// TestTopicHoldsItsShare: a topic that is not forwarded leaves room for others.
func TestTopicHoldsItsShare(t *testing.T) {
	r := newRig(t, spool.Options{Limit: 10_000, TopicShare: 0.3})
	first := r.accept(under("k", draft("stuck", strings.Repeat("x", 2900))))[0]
	_, err := r.Append(t.Context(), []spool.Draft{draft("stuck", strings.Repeat("x", 200))})
	var full *spool.TopicFullError
	if !errors.Is(err, spool.ErrTopicFull) || !errors.As(err, &full) || full.Topic != "stuck" || full.Share != 3000 {
		t.Fatal(err)
	}
	if again := r.accept(under("k", draft("stuck", strings.Repeat("x", 2900))))[0]; again.ID != first.ID {
		t.Error("what is stored was not told")
	}
	r.accept(draft("other", strings.Repeat("x", 2000)))
	r.confirm(r.lease("stuck", 0))
	r.reopen()
	r.accept(draft("stuck", strings.Repeat("x", 2900)))
}

// TestWhatNeverFitsIsTold: waiting does not help what is larger than all there is,
// and the numbers say what would do.
func TestWhatNeverFitsIsTold(t *testing.T) {
	r := newRigOn(t, spool.Options{Limit: 10_000_000, TopicShare: 0.3}, kv.Options{MemTableSize: 1 << 20})
	half := strings.Repeat("x", 1_600_000)
	for name, c := range map[string]struct {
		drafts []spool.Draft
		what   string
	}{
		"the spool":   {repeat(7, draft("t", half)), "spool.limit"},
		"a topic":     {[]spool.Draft{draft("t", half), draft("u", "x"), draft("t", half)}, "spool.topic_share"},
		"one message": {[]spool.Draft{draft("t", half+half)}, "spool.topic_share"},
		"the commit":  {repeat(2000, draft("t", strings.Repeat("x", 300))), "one commit"},
		"many in one": {repeat(4000, draft("t", "x")), "one commit"},
	} {
		_, err := r.Append(t.Context(), c.drafts)
		large := (*spool.TooLargeError)(nil)
		if !errors.Is(err, spool.ErrTooLarge) || !errors.As(err, &large) || !strings.Contains(large.What, c.what) || large.Size <= large.Most {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.Full() {
		t.Error("what never fits has closed the spool for others")
	}
	r.accept(draft("t", half))
	r.Flush()
	if n := r.balanced().Ledger.Total; n.Accepted != 1 {
		t.Errorf("%+v", n)
	}
}

// volume is a Space whose room the test decides.
type volume struct {
	low   atomic.Bool // as found by Look
	known atomic.Bool // what Refuse goes by
	spent atomic.Bool // as told by Spare
	asked atomic.Int64
	looks atomic.Int64
	wrote atomic.Int64
}

func (v *volume) Look() {
	v.looks.Add(1)
	v.known.Store(v.low.Load())
}

func (v *volume) Refuse(int64) error {
	if v.known.Load() {
		return fmt.Errorf("%w: 1 of 2 bytes are free", spool.ErrDiskLow)
	}
	return nil
}

func (v *volume) Spare() error {
	v.asked.Add(1)
	if v.spent.Load() {
		return errors.New("nothing to spare")
	}
	return nil
}

func (v *volume) Wrote(bytes int) { v.wrote.Add(int64(bytes)) }

// TestLowVolumeRefusesAndForwards: the volume is looked at before the commit
// that would accept, and not before one that confirms.
func TestLowVolumeRefusesAndForwards(t *testing.T) {
	v := &volume{}
	r := newRig(t, spool.Options{Space: v})
	first := r.accept(under("k", draft("t", "a")))[0]
	if v.looks.Load() == 0 || v.wrote.Load() == 0 {
		t.Error("an accept neither looked nor told what it wrote")
	}
	v.low.Store(true) // nobody knows yet
	if _, err := r.Append(t.Context(), []spool.Draft{draft("t", "b")}); !errors.Is(err, spool.ErrDiskLow) {
		t.Fatal(err)
	}
	if again := r.accept(under("k", draft("t", "a")))[0]; again.ID != first.ID {
		t.Error("what is stored was not told")
	}
	looks := v.looks.Load()
	r.confirm(r.lease("t", 0))
	if err := r.Drained(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.looks.Load() != looks {
		t.Error("a confirmation asked for room")
	}
	v.low.Store(false)
	v.Look()
	r.accept(draft("t", "b"))
	if n := r.balanced().Ledger.Total; n.Accepted != 2 {
		t.Errorf("%+v", n)
	}
}
