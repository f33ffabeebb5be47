package spool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func (r *rig) pauseTopic(topic string) time.Time {
	r.t.Helper()
	since, err := r.PauseTopic(context.Background(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	return since
}

func (r *rig) resumeTopic(topic string) {
	r.t.Helper()
	if err := r.ResumeTopic(context.Background(), topic); err != nil {
		r.t.Fatal(err)
	}
}

// drainedNow fails the test unless nothing is waited for.
func (r *rig) drainedNow() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Drained(ctx); err != nil {
		r.t.Fatalf("%v; %+v", err, r.Ledger().Total)
	}
}

// A pause is durable before it is answered: after a kill nothing of the topic is
// leased, and all that was accepted comes in its order when it is resumed.
func TestAPausedTopicIsNotLeased(t *testing.T) {
	for name, window := range map[string]int64{"in memory": 0, "on disk": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{Window: window})
			r.accept(draft("t", "a"), keyed("t", "b", "k"))
			since := r.pauseTopic("t")
			if again := r.pauseTopic("t"); since.IsZero() || !again.Equal(since) {
				t.Errorf("paused again since %v, and %v before", again, since)
			}
			r.accept(keyed("t", "c", "k"), draft("other", "x"))
			r.none("t")
			r.confirm(r.lease("other", 0))
			r.pauseTopic("t") // behind the confirmation, which a kill may forget
			for range 2 {
				r.kill()
				r.none("t")
				if got := r.Paused(); len(got) != 1 || !got["t"].Equal(since) {
					t.Errorf("paused are %v, want t since %v", got, since)
				}
			}
			r.accept(keyed("t", "d", "k"))
			r.drainedNow()
			if n := r.balanced().Ledger.Topics["t"]; n.Accepted != 4 || n.InSpool.Pending != 4 || r.KeptBack() != 4 || r.Waiting("t") != 0 {
				t.Errorf("%+v, %d kept back, %d wait", n, r.KeptBack(), r.Waiting("t"))
			}
			if _, waits := r.Oldest(); waits {
				t.Error("what an operator keeps back counts as late")
			}
			r.resumeTopic("t")
			r.resumeTopic("t")
			var got []string
			for len(got) < 4 {
				leases := r.lease("t", 1)
				got = append(got, bodies(leases)...)
				r.confirm(leases)
			}
			if fmt.Sprint(got) != "[a b c d]" {
				t.Errorf("forwarded %v", got)
			}
			r.kill()
			if n := len(r.find("sz")); n > 0 || len(r.Paused()) > 0 {
				t.Errorf("%d entries of pauses are left, paused are %v", n, r.Paused())
			}
			r.balanced()
		})
	}
}

// A topic of which nothing was ever accepted may be a mistake in writing.
func TestPauseOfAnUnknownTopic(t *testing.T) {
	r := newRig(t, spool.Options{})
	if _, err := r.PauseTopic(t.Context(), "t"); !errors.Is(err, spool.ErrNotFound) {
		t.Error(err)
	}
	if err := r.ResumeTopic(t.Context(), "t"); !errors.Is(err, spool.ErrNotFound) {
		t.Error(err)
	}
}

// What is leased ends as it ends, and is waited for; what waits for its attempt or for
// its retry is given back, and stays.
func TestPauseLeavesAloneWhatIsInFlight(t *testing.T) {
	r, c := timed(t, spool.Options{LeaseFor: time.Hour})
	r.accept(keyed("t", "sent", "a"), keyed("t", "failed", "b"), keyed("t", "in line", "c"), keyed("t", "lapsed", "d"))
	leases := r.leaseSome("t", 4)
	r.pauseTopic("t")
	if n, kept := r.Waiting("t"), r.KeptBack(); n != 4 || kept != 0 {
		t.Errorf("%d are in flight, %d kept back", n, kept)
	}
	if got := r.Current(leases[2:3]); len(got) > 0 {
		t.Error("an attempt may begin")
	}
	r.confirm(leases[:1])
	r.Retry(leases[1:2], c.now().Add(time.Minute), message.OutcomeRetryable, "down")
	if n, kept := r.Waiting("t"), r.KeptBack(); n != 1 || kept != 2 {
		t.Errorf("%d are in flight, %d kept back; want the one that is to lapse, and two", n, kept)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.Drained(t.Context()) }()
	c.advance(2 * time.Hour)
	for r.Waiting("t") > 0 {
		r.none("t") // looks at the clock, if it comes to that
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	r.Flush()
	if n := r.Ledger().Topics["t"]; n.Confirmed != 1 || n.InSpool.Pending != 3 {
		t.Errorf("%+v", n)
	}
	r.resumeTopic("t")
	for _, want := range []string{"failed 2", "in line 1", "lapsed 2"} {
		l := r.lease("t", 1)
		if got := fmt.Sprintf("%s %d", l[0].Body, l[0].Attempt); got != want {
			t.Errorf("leased %s, want %s", got, want)
		}
		r.confirm(l)
	}
	r.balanced()
}

// Who waits in Lease is woken by the resume.
func TestResumeWakesWhoWaits(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "x"))
	r.pauseTopic("t")
	got := make(chan []*spool.Lease)
	go func() {
		leases, err := r.Lease(t.Context(), "t", spool.LeaseOptions{})
		if err != nil {
			t.Error(err)
		}
		got <- leases
	}()
	r.resumeTopic("t")
	if leases := <-got; len(leases) != 1 {
		t.Errorf("leased %d", len(leases))
	}
}

// Time goes on for what is paused: a TTL ends, a delayed message falls due, and what is
// committed becomes pending. All of it can be cancelled.
func TestTimeGoesOnInAPausedTopic(t *testing.T) {
	r, c := timed(t, spool.Options{})
	ttl := draft("t", "expires")
	ttl.TTL = time.Minute
	expires := r.accept(ttl)[0].ID
	delayed := r.accept(after(draft("t", "delayed"), time.Minute))[0].ID
	r.prepare(prepared("tx", draft("t", "half")))
	r.pauseTopic("t")
	r.decided("tx", spool.TransactionCommitted)
	r.pass(c, 2*time.Minute, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := r.Wait(ctx, expires); err != nil || got.State != message.StateDead {
		t.Errorf("%+v, %v", got, err)
	}
	if got := r.receipt(delayed); got.State != message.StatePending {
		t.Errorf("%+v", got)
	}
	r.redrive(expires)
	r.none("t")
	r.drainedNow()
	if _, err := r.Cancel(t.Context(), delayed); err != nil {
		t.Errorf("cancel: %v", err)
	}
	r.resumeTopic("t")
	for _, want := range []string{"expires", "half"} {
		l := r.lease("t", 1)
		if got := string(l[0].Body); got != want {
			t.Errorf("leased %s, want %s", got, want)
		}
		r.confirm(l)
	}
	r.balanced()
}

// A topic that is paused takes no memory from the others: what was in its window is
// read again, in order, whatever was under way.
func TestAPausedTopicLeavesTheWindow(t *testing.T) {
	r, c := timed(t, spool.Options{Window: 64 << 10})
	var ids []message.ID
	for n := range 100 { // a block each
		ids = append(ids, r.acceptMany("k", n, n+1)...)
	}
	r.acceptMany("l", 100, 160)
	r.fail("t", 1, c.now().Add(time.Minute))
	r.putOnHold(ids[50])
	if r.Windows() < 30<<10 {
		t.Fatalf("%d bytes are in memory: the test proves nothing", r.Windows())
	}
	r.pauseTopic("t")
	r.acceptMany("k", 160, 170)
	if n, blocks := r.Windows(), r.Blocks("t"); n > 2<<10 || blocks != 1 {
		t.Fatalf("%d bytes of a topic that is paused are in memory, and %d blocks; want those of the first message", n, blocks)
	}
	c.advance(time.Hour)
	r.resumeTopic("t")
	r.releaseHeld(ids[50])
	next := map[string]int{"k": 0, "l": 100}
	for n := 0; n < 170; {
		leases := r.lease("t", 7)
		for _, l := range leases {
			k := l.OrderingKey
			if got := places([]*spool.Lease{l})[0]; got != fmt.Sprintf("%05d", next[k]) {
				t.Fatalf("leased %s of %s, want %05d", got, k, next[k])
			}
			if next[k]++; k == "k" && next[k] == 100 {
				next[k] = 160
			}
			n++
		}
		r.confirm(leases)
	}
	r.none("t")
	r.Flush()
	r.balanced()
	if n, blocks := r.Windows(), r.Blocks("t"); n != 0 || blocks != 0 {
		t.Errorf("%d bytes are left in the windows, and %d blocks", n, blocks)
	}
}

// What was put aside for an earlier message of its key is there once when the topic is
// resumed, and in order.
func TestPauseOfWhatIsAside(t *testing.T) {
	r, c := stuck(t, spool.Options{})
	r.waits()
	r.pauseTopic("t")
	r.none("t")
	r.resumeTopic("t")
	c.advance(time.Hour)
	r.inOrder(0, many+3)
}

// Of what is aside, that which comes behind the first message that was put back is read
// again with it: else it would be counted, and kept aside, twice.
func TestPausePutsBackWhatIsAside(t *testing.T) {
	r, c := stuck(t, spool.Options{})
	r.fail("t", 1, c.now().Add(time.Minute))
	others := append(r.lease("t", 1), r.lease("t", 1)...)
	for r.Aside() < many+2 { // all of the key but the first, also behind the others
		r.none("t")
	}
	r.Release(others)
	r.pauseTopic("t")
	if n := r.Aside(); n != many-1 {
		t.Errorf("%d messages are aside, want those before %s", n, others[0].Body)
	}
	r.resumeTopic("t")
	r.others("other", "free")
	c.advance(time.Hour)
	r.inOrder(0, many+3)
}

// A block that a read found empty before the topic was paused, and that is noted after
// that, moves the cursor over nothing that was put back: it would never be read again.
func TestPauseBehindAnEmptyBlock(t *testing.T) {
	r := newRig(t, spool.Options{})
	var ids []message.ID
	for _, body := range []string{"first", "second", "third", "fourth"} {
		ids = append(ids, r.accept(draft("t", body))[0].ID) // a block each
	}
	r.cancelled(ids[2])
	r.pauseTopic("t")
	if err := r.FoundEmpty("t", r.SeqOf(ids[2])); err != nil {
		t.Fatal(err)
	}
	r.resumeTopic("t")
	var got []string
	for range 3 {
		leases := r.lease("t", 1)
		got = append(got, bodies(leases)...)
		r.confirm(leases)
	}
	if fmt.Sprint(got) != "[first second fourth]" {
		t.Errorf("forwarded %v", got)
	}
	r.Flush()
	r.balanced()
	if n := r.Blocks("t"); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
}

// Any number of calls at once, in one commit or in several: what stands is what the
// last said, in memory, on disk, and in both places there.
func TestPauseAndResumeAtOnce(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "x"))
	for range 20 {
		var calls sync.WaitGroup
		for n := range 6 {
			calls.Go(func() {
				if n%2 == 0 {
					r.pauseTopic("t")
				} else {
					r.resumeTopic("t")
				}
			})
		}
		calls.Wait()
		was := r.Paused()
		r.balanced()
		r.kill()
		if got := r.Paused(); len(got) != len(was) || !got["t"].Equal(was["t"]) || len(r.Damage().Reports) > 0 {
			t.Fatalf("paused are %v, and were %v; %+v", got, was, r.Damage().Reports)
		}
	}
}

// An older version would forward what is paused: it has to refuse the spool, from the
// first pause on.
func TestPauseRaisesTheFormat(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "x"))
	format := func() byte { return r.find("sh")[0].value[0] }
	if r.resumeTopic("t"); format() != 1 {
		t.Fatalf("the format is %d before", format())
	}
	r.pauseTopic("t")
	for _, how := range []func(){func() {}, r.kill, func() { r.resumeTopic("t"); r.reopen() }} {
		if how(); format() != 6 {
			t.Errorf("the format is %d", format())
		}
	}
}

// What an operator has paused stays so, whatever is damaged, and it is said.
func TestDamagedPauseStillPauses(t *testing.T) {
	flipped := func(prefixes ...string) func(*rig) {
		return func(r *rig) {
			for _, p := range prefixes {
				r.damaged(p, flipLast)
			}
		}
	}
	var older entry
	for name, damage := range map[string]func(*rig){
		"entry":             flipped("sz"),
		"topic":             flipped("st"),
		"both":              flipped("sz", "st"),
		"all but the entry": flipped("st", "sh", "sb", "si"),
		"head and entry":    flipped("sh", "sz"),
		"entry is gone":     func(r *rig) { r.removed("sz") },
		"topic is older":    func(r *rig) { r.behind(func(tx *kv.Tx) { tx.Set(older.key, older.value) }) },
		"under another key": func(r *rig) {
			e := r.find("sz")[0]
			r.behind(func(tx *kv.Tx) {
				tx.Delete(e.key)
				tx.Set([]byte("sz\x00\x00\x00\x63"), e.value)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			r.accept(draft("t", "a"))
			r.confirm(r.lease("t", 1))
			r.accept(draft("t", "b"))
			older = r.find("st")[0]
			since := r.pauseTopic("t")
			r.whileClosed(func() { damage(r) })
			if d := r.Damage().Reports; len(d) != 1 || len(d[0].Found) == 0 || d[0].Lost > 0 {
				t.Fatalf("%+v", d)
			}
			r.acknowledged(1)
			for range 2 {
				r.none("t")
				r.balanced()
				if at := r.Paused()["t"]; at.IsZero() || at.Before(since) {
					t.Errorf("paused since %v, and %v before", at, since)
				}
				r.reopen()
			}
			if n := len(r.find("sz")); n != 1 || r.Damage().Pending() {
				t.Errorf("%d entries, %+v", n, r.Damage())
			}
			r.resumeTopic("t")
			r.reopen()
			if got := r.drainSome("t", 1); got != "b" {
				t.Errorf("forwarded %s", got)
			}
			r.reopen()
			r.balanced()
		})
	}
}

// A pause of a topic of which nothing else is left is kept.
func TestDamageOfAnEmptyPausedTopic(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "a"))
	r.confirm(r.lease("t", 1))
	r.accept(draft("u", "b"))
	r.pauseTopic("t")
	r.whileClosed(func() {
		r.damaged("st\x00\x00\x00\x01", flipLast)
		r.removed("sr")
	})
	if r.Paused()["t"].IsZero() {
		t.Errorf("paused are %v; %+v", r.Paused(), r.Damage().Reports)
	}
	r.accept(draft("t", "c"))
	r.none("t")
}

// Where nothing tells of a pause any more, it is said that there may have been one.
func TestLostPauseIsSaid(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "a"))
	r.pauseTopic("t")
	r.whileClosed(func() {
		r.removed("sz")
		r.damaged("st", flipLast)
	})
	if d := r.Damage().Reports; len(d) != 1 || !strings.Contains(fmt.Sprint(d[0].Found), `topic "t": if an operator had paused it, that is not known any more`) {
		t.Errorf("%+v", d)
	}
	if got := r.drainSome("t", 1); got != "a" {
		t.Errorf("forwarded %s", got)
	}
}

// Of what is to be sent again a pause holds up what is not in flight: an attempt of the
// rest is under way, and a drain waits for it until its end is recorded.
func TestPauseLeavesAloneCopiesInFlight(t *testing.T) {
	r := newRigOn(t, retaining(), kv.Options{LazyDelay: time.Hour, OnCommit: func(kv.CommitStats) {}})
	r.accept(draft("t", "a"), draft("t", "b"), draft("t", "c"))
	r.confirm(r.lease("t", 0))
	r.Flush()
	r.resend(spool.ResendFilter{}, 3)
	leases := r.lease("t", 0)
	if len(leases) != 3 {
		t.Fatalf("leased %d", len(leases))
	}
	keeps := func(what string, want uint64) {
		t.Helper()
		_, kept, _ := r.Left()
		if got := kept["t"]; got != (spool.Kept{Copies: want}) {
			t.Errorf("%s: kept back %+v, want %d copies", what, got, want)
		}
	}
	keeps("running", 0)
	r.pauseTopic("t")
	keeps("paused", 0)
	r.Release(leases[1:2])
	r.Retry(leases[2:], time.Now(), message.OutcomeRetryable, "down")
	keeps("two have come back", 2)
	r.confirm(leases[:1])
	r.resumeTopic("t")
	leases = append(r.lease("t", 1), r.lease("t", 1)...)
	r.pauseTopic("t")
	r.confirm(leases)
	keeps("all are confirmed, and that is not recorded", 0)
	r.Flush()
	keeps("that is recorded", 0)
	if c := r.Ledger().Total; c.Resending != 0 || c.Resent != 3 {
		t.Errorf("%+v", c)
	}
}
