package spool_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// brokerTimer is a broker's timer for the topic t.
type brokerTimer struct{ ahead atomic.Int64 }

func (b *brokerTimer) of(topic string) (time.Duration, bool) {
	return time.Duration(b.ahead.Load()), topic == "t"
}

// withTimer is a rig whose broker takes messages up to an hour ahead of their time.
func withTimer(t *testing.T) (*rig, *clock, *brokerTimer) {
	t.Helper()
	b := new(brokerTimer)
	b.ahead.Store(int64(time.Hour))
	r, c := timed(t, spool.Options{Timer: b.of})
	return r, c, b
}

// states wants receipts as they stand.
func (r *rig) states(all []message.Receipt, want ...message.State) {
	r.t.Helper()
	for i, w := range want {
		if got, err := r.Receipt(context.Background(), all[i].ID); err != nil || got.State != w {
			r.t.Errorf("message %d is %+v, %v; want %s", i, got, err, w)
		}
	}
}

// What is near enough for the broker's timer is pending at once, and tells when it is
// due; what is farther is delayed until it is near enough. No other topic is, nor what has
// an ordering key.
func TestBrokerTimerHasWhatIsNear(t *testing.T) {
	for name, again := range map[string]func(*rig){"while it is open": func(*rig) {}, "after a reopening": (*rig).reopen, "after a kill": (*rig).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c, _ := withTimer(t)
			began := c.now()
			all := r.accept(
				after(draft("t", "near"), time.Hour), after(bulky(draft("t", "far")), 3*time.Hour), until(draft("t", "at"), began.Add(time.Minute)),
				after(keyed("t", "ordered", "key"), 30*time.Minute), after(draft("other", "topic"), 30*time.Minute),
			)
			pending, delayed := message.StatePending, message.StateDelayed
			r.states(all, pending, delayed, pending, delayed, delayed)
			again(r)
			leases := r.leaseSome("t", 2)
			if at := leases[0].TimerAt(); !at.Equal(leases[0].AcceptedAt.Add(time.Hour)) || !at.Equal(began.Add(time.Hour)) {
				t.Errorf("due at %v, want an hour after %v", at, began)
			}
			if at := leases[1].TimerAt(); !at.Equal(began.Add(time.Minute)) {
				t.Errorf("due at %v, want a minute after %v", at, began)
			}
			r.confirm(leases)
			r.pass(c, 30*time.Minute, 1)
			ordered := r.leaseSome("t", 1)
			if !ordered[0].TimerAt().IsZero() {
				t.Errorf("with an ordering key it is for a timer: %v", ordered[0].TimerAt())
			}
			r.confirm(ordered)
			r.confirm(r.leaseSome("other", 1))
			again(r)
			r.pass(c, 90*time.Minute-time.Millisecond, 1)
			r.pass(c, time.Millisecond, 0)
			far := r.leaseSome("t", 1)
			if at := far[0].TimerAt(); !at.Equal(began.Add(3 * time.Hour)) {
				t.Errorf("due at %v, want 3 h after %v", at, began)
			}
			r.confirm(far)
			r.Flush()
			r.balanced()
		})
	}
}

// While the broker has no timer, all is delayed until it is due: also what was to go to it.
func TestWithoutBrokerTimerAllIsDelayed(t *testing.T) {
	r, c, b := withTimer(t)
	all := r.accept(after(bulky(draft("t", "far")), 3*time.Hour), until(draft("t", "too"), c.now().Add(3*time.Hour)))
	b.ahead.Store(0)
	all = append(all, r.accept(after(draft("t", "near"), 30*time.Minute))...)
	r.pass(c, 29*time.Minute, 3)
	r.pass(c, time.Minute, 2)
	c.advance(2*time.Hour + 29*time.Minute)
	for range 2 { // they are looked at, and delayed anew
		r.WakeDue()
		r.kill()
		r.states(all, message.StateDelayed, message.StateDelayed, message.StatePending)
	}
	r.pass(c, time.Minute, 0)
	leases := r.leaseSome("t", 3)
	for _, l := range leases {
		if l.TimerAt().After(c.now()) {
			t.Errorf("%.4s is pending before it is due, at %v", l.Body, l.TimerAt())
		}
	}
	r.confirm(leases)
	r.Flush()
	r.balanced()
}

// What was accepted while the broker had no timer is delayed as without one, by the time
// that passes: once it is due no wall clock says otherwise. What is due is for no timer.
func TestWithoutBrokerTimerNothingIsForIt(t *testing.T) {
	r, c, b := withTimer(t)
	past := until(draft("t", "is due"), c.now().Add(-time.Minute))
	b.ahead.Store(0)
	r.accept(after(draft("t", "x"), 30*time.Minute))
	b.ahead.Store(int64(time.Hour))
	r.accept(past)
	r.pass(c, 30*time.Minute, 0)
	for _, l := range r.leaseSome("t", 2) {
		if at := l.TimerAt(); !at.IsZero() {
			t.Errorf("%s is for a timer, at %v", l.Body, at)
		}
	}
}

// A TTL begins when the message is due, wherever it waits until then.
func TestTTLOfTimerBeginsWhenItIsDue(t *testing.T) {
	r, c, _ := withTimer(t)
	d := mortal(after(draft("t", "x"), 30*time.Minute), time.Minute)
	before := mortal(draft("t", "expires a moment before"), 31*time.Minute-time.Millisecond)
	all := r.accept(d, before)
	c.advance(before.TTL)
	r.reopen()
	r.awaitDead(1)
	r.states(all, message.StatePending, message.StateDead)
	c.advance(time.Millisecond)
	r.awaitDead(2)
}

// Where an export is taken in there may be no timer: there the message is delayed, and has
// its number when it is due.
func TestExportedTimerIsDelayed(t *testing.T) {
	r, c, _ := withTimer(t)
	all := r.accept(draft("t", "first"), after(draft("t", "x"), 30*time.Minute))
	var file bytes.Buffer
	if _, err := r.Export(t.Context(), &file, spool.Query{}); err != nil {
		t.Fatal(err)
	}
	opts := spool.Options{}
	c.rule(&opts)
	to := newRig(t, opts)
	if done, err := to.Import(t.Context(), &file, false); err != nil || done.Messages != 2 {
		t.Fatalf("imported %+v, %v", done, err)
	}
	to.states(all, message.StatePending, message.StateDelayed)
	to.confirm(to.leaseSome("t", 1))
	to.pass(c, 30*time.Minute, 0)
	l := to.leaseSome("t", 1)[0]
	if l.ID != all[1].ID || l.TopicSeq != 2 {
		t.Errorf("message %s has the number %d, want 2", l.ID, l.TopicSeq)
	}
}

// What has become due while it waited for the timer is pending in an export, and its TTL
// goes on.
func TestExportedTimerThatIsDueIsPending(t *testing.T) {
	from, c, _ := withTimer(t)
	all := from.accept(mortal(after(draft("t", "x"), 30*time.Minute), 10*time.Minute))
	c.advance(35 * time.Minute)
	export := from.export(spool.Query{})
	to := newRig(t, spool.Options{Now: c.now, Elapsed: from.opts.Elapsed})
	to.take(export)
	to.states(all, message.StatePending)
	c.advance(5 * time.Minute)
	to.awaitDead(1)
	to.expiredLetter(all[0].ID)
}

// A dead letter that was for a timer keeps its time in an export, as long as that is to
// come: redriven, it waits for it, by a timer or without one. An older version, which would
// send it at once, refuses file and spool.
func TestExportedDeadLetterKeepsItsTime(t *testing.T) {
	r, c, _ := withTimer(t)
	format := func(file []byte) string { return string(file[:len(`{"remora_export":6`)]) }
	if got := format(r.export(spool.Query{})); got != `{"remora_export":3` {
		t.Errorf("without dead letters it begins with %s", got)
	}
	began := c.now()
	all := r.accept(after(draft("t", "x"), 30*time.Minute), after(bulky(draft("t", "bulky")), 40*time.Minute), after(draft("t", "is due"), time.Minute), draft("t", "y"))
	var ids []message.ID
	for i, l := range r.leaseSome("t", len(all)) {
		r.bury(l)
		ids = append(ids, all[i].ID)
	}
	c.advance(time.Minute)
	file := r.export(spool.Query{States: []message.State{message.StateDead}})
	if got := format(file); got != `{"remora_export":6` {
		t.Errorf("with dead letters that have a time it begins with %s", got)
	}
	opts := spool.Options{}
	c.rule(&opts)
	to := newRig(t, opts)
	to.take(file)
	to.reopen()
	if n := to.find("sh")[0].value[0]; n != 8 {
		t.Errorf("the format of the spool that took it in is %d", n)
	}
	to.states(all, message.StateDead, message.StateDead, message.StateDead, message.StateDead)
	if again := to.export(spool.Query{}); format(again) != `{"remora_export":6` || bytes.Count(again, []byte(`"deliver_at"`)) != 2 {
		t.Errorf("exported again it is %s", again)
	}
	if _, refused, err := to.Redrive(t.Context(), ids); err != nil || len(refused) > 0 {
		t.Fatalf("%v, %v", refused, err)
	}
	want := map[message.ID]time.Time{all[0].ID: began.Add(30 * time.Minute), all[1].ID: began.Add(40 * time.Minute)}
	for _, l := range to.leaseSome("t", len(all)) {
		if at := l.TimerAt(); !at.Equal(want[l.ID]) {
			t.Errorf("%.6s is due at %v, want %v", l.Body, at, want[l.ID])
		}
	}
	to.balanced()
}

// A head that is lost is made anew, and says that there are messages for a timer, wherever
// one is: an older version would send it without its time.
func TestLostHeadIsOfTheFormatOfTimers(t *testing.T) {
	for name, tt := range map[string]struct {
		draft  spool.Draft
		settle func(*rig, []*spool.Lease)
	}{
		"pending":             {after(draft("t", "x"), time.Hour), nil},
		"pending, apart":      {after(bulky(draft("t", "x")), time.Hour), nil},
		"delayed":             {after(draft("t", "x"), 3*time.Hour), nil},
		"delayed, apart":      {after(bulky(draft("t", "x")), 3*time.Hour), nil},
		"a dead letter":       {after(draft("t", "x"), time.Hour), func(r *rig, l []*spool.Lease) { r.bury(l[0]) }},
		"a dead letter apart": {after(bulky(draft("t", "x")), time.Hour), func(r *rig, l []*spool.Lease) { r.bury(l[0]) }},
		"kept":                {after(draft("t", "x"), time.Hour), (*rig).confirm},
		"kept, apart":         {after(bulky(draft("t", "x")), time.Hour), (*rig).confirm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := new(brokerTimer)
			b.ahead.Store(int64(time.Hour))
			r, _ := timed(t, spool.Options{Timer: b.of, RetainFor: time.Hour, RetainBytes: 1 << 20})
			r.accept(draft("u", "another"), tt.draft)
			if tt.settle != nil {
				tt.settle(r, r.leaseSome("t", 1))
				r.Flush()
			}
			r.loseHead()
			r.loses("HEAD")
			r.open()
			if n := r.find("sh")[0].value[0]; n != 8 {
				t.Errorf("the format is %d, want 8", n)
			}
		})
	}
}

// A payload that is stored apart tells once when its message is due, not each time that it
// is looked whether a broker has a timer now.
func TestPostponedTimerIsKnownBeforeItsPayload(t *testing.T) {
	r, c, _ := withTimer(t)
	r.accept(after(bulky(draft("t", "x")), 30*time.Minute))
	r.reopen()
	lease := func() *spool.Lease {
		leases, err := r.Lease(t.Context(), "t", spool.LeaseOptions{Later: true})
		if err != nil {
			t.Fatal(err)
		}
		return leases[0]
	}
	first := lease()
	if !first.TimerAt().IsZero() {
		t.Fatal("its time is known before its payload is read: the test proves nothing")
	}
	r.Postpone(r.Payloads(t.Context(), []*spool.Lease{first})[0], c.now(), "no broker has a timer")
	if at := lease().TimerAt(); !at.Equal(c.now().Add(30 * time.Minute)) {
		t.Errorf("due at %v, want in half an hour", at)
	}
}

// What the broker has confirmed for its timer tells in its receipt when it is due, also
// where its payload is stored apart; what was due when it was confirmed does not.
func TestReceiptTellsWhenATimerIsDue(t *testing.T) {
	r, c, _ := withTimer(t)
	began := c.now()
	all := r.accept(after(draft("t", "near"), time.Hour), after(bulky(draft("t", "bulky")), 30*time.Minute),
		after(draft("t", "is due soon"), time.Minute), draft("t", "now"))
	leases := r.leaseSome("t", 4)
	r.confirm(leases[:2])
	c.advance(time.Minute)
	r.confirm(leases[2:])
	r.Flush()
	for name, again := range map[string]func(){"while it is open": func() {}, "after a reopening": r.reopen} {
		again()
		page, err := r.List(t.Context(), spool.Query{States: []message.State{message.StateConfirmed}})
		if err != nil || len(page.Items) != len(all) {
			t.Fatalf("%s: %+v, %v", name, page, err)
		}
		for i, want := range []time.Time{began.Add(time.Hour), began.Add(30 * time.Minute), {}, {}} {
			got, err := r.Receipt(t.Context(), all[i].ID)
			if err != nil || !got.DeliverAt.Equal(want) || !page.Items[i].DeliverAt.Equal(want) {
				t.Errorf("%s: message %d is due at %v, in a list at %v (%v), want %v", name, i, got.DeliverAt, page.Items[i].DeliverAt, err, want)
			}
		}
	}
}
