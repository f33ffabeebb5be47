package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// redrive fails the test unless all are redriven.
func (r *rig) redrive(ids ...message.ID) {
	r.t.Helper()
	_, refused, err := r.Redrive(context.Background(), ids)
	if err != nil || len(refused) > 0 {
		r.t.Fatal(refused, err)
	}
}

func (r *rig) discard(ids ...message.ID) {
	r.t.Helper()
	_, refused, err := r.Discard(context.Background(), ids)
	if err != nil || len(refused) > 0 {
		r.t.Fatal(refused, err)
	}
}

// letter accepts a message and makes it a dead letter.
func (r *rig) letter(d spool.Draft) message.ID {
	r.t.Helper()
	id := r.accept(d)[0].ID
	r.buryNext(d.Topic, id)
	return id
}

func (r *rig) receipt(id message.ID) message.Receipt {
	r.t.Helper()
	got, err := r.Receipt(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// events are the names of a history.
func events(r message.Receipt) string {
	var names []string
	for _, e := range r.History.Events() {
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

// A redriven message is pending on disk before that is answered, is forwarded as
// what it was, with attempts from one, and tells its life.
func TestRedrivenMessagesAreForwardedAgain(t *testing.T) {
	for name, opts := range map[string]spool.Options{"plain": {}, "small window": {Window: 1}, "encrypted": {Keys: ring(1)}} {
		for _, body := range []string{"small", large('L')} {
			t.Run(fmt.Sprint(name, len(body)), func(t *testing.T) {
				r := newRig(t, opts)
				id := r.letter(draft("t", body))
				r.accept(draft("t", "other"))
				was, err := r.Find(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				r.redrive(id)
				for _, killed := range []bool{false, true} {
					if killed {
						r.kill()
					}
					got := r.receipt(id)
					if got.State != message.StatePending || got.Attempts != 0 || events(got) != "accepted attempt dead redriven" {
						t.Fatalf("killed %v: %+v", killed, got)
					}
					if n := r.balanced().Ledger.Total.InSpool; n.Pending != 2 || n.Dead != 0 {
						t.Fatalf("killed %v: %+v", killed, n)
					}
				}
				var l *spool.Lease
				for l == nil {
					for _, one := range r.lease("t", 1) {
						if one.ID == id {
							l = one
						} else {
							r.confirm([]*spool.Lease{one})
						}
					}
				}
				if string(l.Body) != body || l.Attempt != 1 || l.Seq != was.Message.Seq || l.TopicSeq != was.Message.TopicSeq {
					t.Fatalf("leased %.20s, attempt %d, %d, %d", l.Body, l.Attempt, l.Seq, l.TopicSeq)
				}
				r.confirm([]*spool.Lease{l})
				r.Flush()
				r.kill()
				if got := r.receipt(id); got.State != message.StateConfirmed || events(got) != "accepted attempt dead redriven attempt confirmed" {
					t.Fatalf("%+v", got)
				}
				if left := len(r.find("sd")) + len(r.find("sa")) + len(r.find("sc")); left != 0 {
					t.Errorf("%d entries are left", left)
				}
				if len(r.exceptions("t", 10)) != 0 {
					t.Error("its number is an exception, and it was confirmed")
				}
				r.balanced()
			})
		}
	}
}

// Its record may still stand in a block that others keep: it is forwarded once,
// and the block goes with the others.
func TestRedrivenMessageOfASharedBlockIsForwardedOnce(t *testing.T) {
	r := newRig(t, spool.Options{})
	ids := []message.ID{}
	for _, got := range r.accept(draft("t", "a"), draft("t", "b"), draft("t", "c")) {
		ids = append(ids, got.ID)
	}
	r.buryNext("t", ids[1])
	r.redrive(ids[1])
	r.kill()
	if items, _ := r.list(spool.Query{}); len(items) != 3 {
		t.Errorf("%d are listed", len(items))
	}
	var got []string
	for len(got) < 3 {
		leases := r.lease("t", 1)
		got = append(got, bodies(leases)...)
		r.confirm(leases)
	}
	slices.Sort(got)
	r.none("t")
	r.Flush()
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	r.Flush() // maintain may have dropped it, and not have synced that
	if left := len(r.find("sm")) + len(r.find("sd")); fmt.Sprint(got) != "[a b c]" || left != 0 {
		t.Errorf("forwarded %v, %d entries are left: %v", got, left, append(r.find("sm"), r.find("sd")...))
	}
	r.balanced()
}

// Of one ordering key one attempt is made at a time, also of what was redriven.
// It goes before what waits, and says that it is out of order.
func TestRedriveKeepsOneAttemptOfAKey(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.letter(keyed("t", "1", "k"))
	r.accept(keyed("t", "2", "k"))
	flying := r.lease("t", 1)
	r.accept(keyed("t", "3", "k"), keyed("t", "other", "l"))
	r.redrive(id)
	if got := bodies(r.lease("t", 0)); fmt.Sprint(got) != "[other]" {
		t.Fatalf("leased %v while its key is in flight", got)
	}
	r.none("t")
	r.confirm(flying)
	if got := bodies(r.lease("t", 0)); fmt.Sprint(got) != "[1 3]" {
		t.Fatalf("leased %v", got)
	}
	was := r.receipt(id)
	all := was.History.Events()
	if last := all[len(all)-1]; last.Name != "redriven" || !strings.Contains(last.Detail, "out of order") {
		t.Errorf("%+v", last)
	}
}

// What dies again is one dead letter, with all of its life, and can be redriven again.
func TestRedrivenMessageDiesAgain(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.letter(draft("t", "x"))
	for n := range 2 {
		r.redrive(id)
		r.bury(r.lease("t", 1)[0])
		r.kill()
		got := r.receipt(id)
		if want := "accepted" + strings.Repeat(" attempt dead redriven", n+1) + " attempt dead"; got.State != message.StateDead || events(got) != want || got.Attempts != 1 {
			t.Fatalf("%+v", got)
		}
		if letters, again := len(r.find("sd")), len(r.find("sa")); letters != 1 || again != 0 {
			t.Fatalf("%d dead letters, %d redriven", letters, again)
		}
		r.none("t")
		r.balanced()
	}
	for range 20 { // more than a history has room for
		r.redrive(id)
		r.bury(r.lease("t", 1)[0])
	}
	all := r.receipt(id).History
	if first, last := all.First[0].Name, all.Last[len(all.Last)-1].Name; first != "accepted" || last != "dead" || all.Skipped == 0 {
		t.Errorf("%+v", all)
	}
}

func TestDiscardedMessagesAreCounted(t *testing.T) {
	r := newRig(t, spool.Options{})
	d := under("key", draft("t", large('L')))
	id := r.letter(d)
	number := r.exceptions("t", 1)[0].TopicSeq
	r.accept(draft("t", "other"))
	r.discard(id)
	for _, killed := range []bool{false, true} {
		if killed {
			r.kill()
		}
		if got := r.receipt(id); got.State != message.StateDiscarded || got.SettledAt.IsZero() || events(got) != "accepted attempt dead discarded" {
			t.Fatalf("%+v", got)
		}
		if n := r.balanced().Ledger.Total; n.Discarded != 1 || n.InSpool.Dead != 0 || n.InSpool.Held() != 1 || n.Bytes > 100 {
			t.Fatalf("%+v", n)
		}
		if x := r.exceptions("t", 1); len(x) != 1 || x[0].State != message.StateDiscarded || x[0].TopicSeq != number {
			t.Fatalf("%+v", x)
		}
		if _, err := r.Append(t.Context(), []spool.Draft{d}); !errors.Is(err, spool.ErrKeySettled) {
			t.Fatal(err)
		}
	}
	if left := len(r.find("sd")) + len(r.find("sc")) + len(r.find("sx")); left != 0 {
		t.Errorf("%d entries are left", left)
	}
}

func TestOnlyDeadLettersAreRedrivenOrDiscarded(t *testing.T) {
	r := newRig(t, spool.Options{})
	dead := r.letter(draft("t", "dead"))
	done := r.accept(draft("t", "done"))[0].ID
	r.confirm(r.lease("t", 1))
	waits := r.accept(draft("t", "waits"))[0].ID
	unknown := message.ID{1}
	for name, do := range map[string]func(context.Context, []message.ID) ([]message.ID, map[message.ID]error, error){"redrive": r.Redrive, "discard": r.Discard} {
		_, refused, err := do(t.Context(), []message.ID{done, waits, unknown})
		if err != nil || !errors.Is(refused[done], spool.ErrWrongState) || !errors.Is(refused[waits], spool.ErrWrongState) || !errors.Is(refused[unknown], spool.ErrNotFound) {
			t.Errorf("%s: %v, %v", name, refused, err)
		}
	}
	r.redrive(dead, dead)
	_, refused, err := r.Redrive(t.Context(), []message.ID{dead})
	if err != nil || !errors.Is(refused[dead], spool.ErrWrongState) {
		t.Errorf("again: %v, %v", refused, err)
	}
	if _, refused, err := r.Discard(t.Context(), []message.ID{dead}); err != nil || !errors.Is(refused[dead], spool.ErrWrongState) {
		t.Errorf("one that was redriven: %v, %v", refused, err)
	}
	r.balanced()
}

// The process dies at any moment of a redrive or a discard: each message is one
// or the other, and counted once.
func TestRedriveAndDiscardAreAllOrNothingEach(t *testing.T) {
	for name, do := range map[string]func(*rig, ...message.ID){"redrive": (*rig).redrive, "discard": (*rig).discard} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			ids := []message.ID{r.letter(draft("t", "a")), r.letter(draft("t", "b"))}
			before := r.dbDir() + ".before"
			copyStill(t, r.dbDir(), before)
			from := len(trimmed(r.log()))
			do(r, ids...)
			written := trimmed(r.log())
			seen := map[message.State]int{}
			for i := range 9 {
				died := &rig{t: t, dir: t.TempDir()}
				copyStill(t, before, died.dbDir())
				died.setLog(written[:from+(len(written)-from)*i/8])
				died.open()
				state := died.receipt(ids[0]).State
				if other := died.receipt(ids[1]).State; other != state {
					t.Errorf("cut %d: %s and %s", i, state, other)
				}
				seen[state]++
				died.balanced()
				died.close()
			}
			if len(seen) != 2 || seen[message.StateDead] == 0 {
				t.Errorf("no cut lies before, or none behind the end of the transaction: %v", seen)
			}
		})
	}
}

func trimmed(log []byte) []byte {
	n := len(log)
	for n > 0 && log[n-1] == 0 {
		n--
	}
	return log[:n]
}

// A redriven message can be held, released and cancelled as any pending one, and
// keeps its key waiting meanwhile, also after a restart.
func TestHoldOfARedrivenMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.letter(keyed("t", "1", "k"))
	r.accept(keyed("t", "2", "k"))
	r.redrive(id)
	if got := r.putOnHold(id); !got.OnHold || events(got) != "accepted attempt dead redriven" {
		t.Fatalf("%+v", got)
	}
	for range 2 {
		r.none("t")
		r.kill()
		if got := r.receipt(id); !got.OnHold || events(got) != "accepted attempt dead redriven" {
			t.Fatalf("%+v", got)
		}
		r.balanced()
	}
	items, _ := r.list(spool.Query{OnHold: true})
	if len(items) != 1 || items[0].ID != id {
		t.Fatalf("listed %v", items)
	}
	r.releaseHeld(id)
	for _, want := range []string{"1", "2"} {
		leases := r.lease("t", 1)
		if string(leases[0].Body) != want {
			t.Fatalf("leased %s, want %s", leases[0].Body, want)
		}
		r.confirm(leases)
	}
	r.Flush()
	r.balanced()
}

// It enters at once when it is released, also where its lane has not come to its
// sequence.
func TestReleaseOfARedrivenMessageBehindTheWindow(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "before"))
	id := r.letter(draft("t", "x"))
	r.redrive(id)
	r.putOnHold(id)
	r.kill()
	r.confirm(r.lease("t", 0))
	r.none("t")
	r.releaseHeld(id)
	if got := bodies(r.lease("t", 0)); fmt.Sprint(got) != "[x]" {
		t.Fatalf("leased %v", got)
	}
}

// What was refused by the broker alone was never stored there: once redriven it
// may be cancelled, unless an earlier attempt is not known to have failed.
func TestCancelOfARedrivenMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	id, maybe := r.letter(draft("t", "x")), r.accept(draft("t", "y"))[0].ID
	r.Retry(r.lease("t", 1), time.Now().Add(-time.Hour), message.OutcomeUnknown, "no answer")
	r.buryNext("t", maybe)
	r.redrive(id, maybe)
	if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := r.Cancel(t.Context(), maybe); !errors.Is(err, spool.ErrMaybeSent) {
		t.Errorf("%+v, %v", got, err)
	}
	if left := len(r.find("sd")); left != 1 {
		t.Errorf("%d dead letters", left)
	}
	r.kill()
	r.balanced()
}

// However much is redriven, memory holds no more than a read and the window.
func TestRedriveKeepsTheWindowBounded(t *testing.T) {
	const window, size, n = 256 << 10, 20 << 10, 200
	r := newRigOn(t, spool.Options{Window: window}, kv.Options{})
	var ids []message.ID
	for i := range n {
		ids = append(ids, r.accept(draft("t", fmt.Sprint(i, strings.Repeat(".", size))))[0].ID)
	}
	for range n {
		r.bury(r.lease("t", 1)[0])
	}
	r.redrive(ids...)
	r.reopen()
	var got []message.ID
	for len(got) < n {
		leases := r.lease("t", 8)
		for _, l := range leases {
			got = append(got, l.ID)
		}
		if held := r.Windows(); held > window+2<<20 {
			t.Fatalf("%d bytes are in memory", held)
		}
		r.confirm(leases)
	}
	if !slices.Equal(got, ids) {
		t.Error("they do not come in the order in which they were accepted")
	}
	r.Flush()
	r.balanced()
}

// A lease that lapsed is confirmed late, after its message was made a dead letter,
// redriven and put on hold: that ends it, and not what stands in the block that it left.
func TestALateConfirmationOfWhatWasRedriven(t *testing.T) {
	for name, end := range map[string]func(r *rig, c *clock, id message.ID){
		"refused": func(r *rig, _ *clock, _ message.ID) { r.bury(r.lease("t", 1)[0]) },
		"expired": func(r *rig, c *clock, _ message.ID) { c.advance(time.Hour); r.awaitDead(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{LeaseFor: time.Minute})
			all := r.accept(mortal(draft("t", "1"), time.Hour), draft("t", "2"))
			late := r.lease("t", 1)
			c.advance(2 * time.Minute)
			r.WakeDue()
			end(r, c, all[0].ID)
			r.redrive(all[0].ID)
			r.putOnHold(all[0].ID)
			r.confirm(late)
			r.flush()
			if got := r.receipt(all[0].ID); got.State != message.StateConfirmed || got.OnHold {
				t.Errorf("%+v", got)
			}
			if left := len(r.find("sd")) + len(r.find("sa")) + len(r.find("sw")); left > 0 {
				t.Errorf("%d entries of the redriven message are left", left)
			}
			r.balanced()
			r.kill()
			r.balanced()
			if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[2]" {
				t.Errorf("leased %s", got)
			}
		})
	}
}
