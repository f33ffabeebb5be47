package ackgate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/push"
)

// TestPauseHoldsUpWhatHasNotBegun: while a subscription is paused no call begins and
// no attempt is burnt; one that runs goes on to its ack, and all others are called
// when it is resumed.
func TestPauseHoldsUpWhatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.takes = time.Second
		o := options()
		o.Concurrency, o.Brake = 2, NewBrake("billing", nil)
		s.start(o)
		time.AfterFunc(500*time.Millisecond, func() { // two calls run, two wait for a slot
			if !o.Brake.Apply(Paused, time.Now(), "by an operator") || o.Brake.Apply(Paused, time.Now(), "again") {
				t.Error("a pause is new once")
			}
		})
		time.AfterFunc(30*time.Minute, func() {
			state := s.gate.State()
			if acks, calls := s.tally("ack "), len(s.called()); acks != 2 || calls != 2 {
				t.Errorf("after half an hour: %d acked of %d calls", acks, calls)
			}
			if state.InFlight != 0 || state.Held != 2 || state.String() != "paused" || state.HeldUp[0].Detail != "again" ||
				time.Since(state.HeldUp[0].Since) != 30*time.Minute-500*time.Millisecond {
				t.Errorf("state %s: %+v", state, state)
			}
			o.Brake.Release(Paused)
		})
		s.run(time.Hour, delivery("a"), delivery("b"), delivery("c"), delivery("d"))
		if len(s.calls) != 4 {
			t.Errorf("%d calls: %v", len(s.calls), s.events)
		}
		for _, call := range s.calls {
			if call.Attempt != 1 || s.ends[call.Delivery.Identity] != nil {
				t.Errorf("%s: attempt %d, ended %v", call.Delivery.Identity, call.Attempt, s.ends[call.Delivery.Identity])
			}
		}
		if state := s.gate.State(); state.String() != "running" || state.Held != 0 {
			t.Errorf("in the end: %+v", state)
		}
	})
}

// TestPauseOvertakesACallThatIsAboutToBegin: between its mark and its call a message
// meets the pause; its mark is given back without an attempt.
func TestPauseOvertakesACallThatIsAboutToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		o := options()
		o.Brake = NewBrake("billing", nil)
		s.start(o)
		s.gate.store = &pausing{Store: s.gate.store, brake: o.Brake}
		resumed := false
		time.AfterFunc(time.Minute, func() {
			resumed = true
			if len(s.called()) != 0 {
				t.Error("a call began after the pause")
			}
			for _, m := range s.marks {
				if m.held || m.attempts != 0 {
					t.Errorf("mark held: %t, attempts %d", m.held, m.attempts)
				}
			}
			o.Brake.Release(Paused)
		})
		s.run(time.Hour, delivery("a"))
		if !resumed || len(s.calls) != 1 || s.calls[0].Attempt != 1 || s.ends["a"] != nil {
			t.Errorf("resumed %t before its end; %d calls, %v", resumed, len(s.calls), s.ends["a"])
		}
	})
}

// pausing is a store during whose first Begin the subscription is paused.
type pausing struct {
	dedupe.Store
	brake *Brake
	once  sync.Once
}

func (p *pausing) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	p.once.Do(func() { p.brake.Apply(Paused, time.Now(), "") })
	return p.Store.Begin(ctx, k, f, lease)
}

// TestPauseKeepsLeases: what the application has leased can be acked while the
// subscription is paused, and a late ack ends the wait of its message.
func TestPauseKeepsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{{Disposition: push.Leased, Status: 202}}
		o := options()
		o.Brake = NewBrake("billing", nil)
		s.start(o)
		time.AfterFunc(time.Minute, func() {
			o.Brake.Apply(Paused, time.Now(), "")
			for _, call := range s.called() {
				if _, err := s.leases.Ack(t.Context(), call.ID); err != nil {
					t.Errorf("ack of %s: %v", call.Delivery.Identity, err)
				}
			}
		})
		s.run(10*time.Minute, delivery("a"))
		if s.ends["a"] != nil || len(s.calls) != 1 {
			t.Errorf("%v after %d calls", s.ends["a"], len(s.calls))
		}
	})
}

// TestLateAckOfAPausedMessage: a call whose answer was lost is acked by its ID while
// its message waits for the end of a pause.
func TestLateAckOfAPausedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{{Err: context.DeadlineExceeded}}
		o := options()
		o.Brake = NewBrake("billing", nil)
		s.start(o)
		s.during = func(*push.Call) { o.Brake.Apply(Paused, time.Now(), "") }
		time.AfterFunc(time.Minute, func() {
			if late, err := s.leases.Ack(t.Context(), s.called()[0].ID); err != nil || !late {
				t.Errorf("late ack: %t, %v", late, err)
			}
			if s.tally("ack a") != 1 {
				t.Error("it still waits")
			}
		})
		s.run(10*time.Minute, delivery("a"))
		if len(s.calls) != 1 || s.ends["a"] != nil {
			t.Errorf("%d calls, %v", len(s.calls), s.ends["a"])
		}
	})
}

// TestPausedPull: who pulls a paused subscription waits as if there were no message,
// and gets one when it is resumed.
func TestPausedPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.pulls = true
		o := options()
		o.Brake = NewBrake("billing", nil)
		s.start(o)
		o.Brake.Apply(Paused, time.Now(), "")
		pull := func(wait time.Duration) []Pulled {
			began := time.Now()
			all, err := s.leases.Receive(t.Context(), "billing", Pull{Max: 5, Wait: wait, Lease: time.Minute})
			if err != nil || len(all) == 0 && time.Since(began) != wait {
				t.Errorf("after %v of %v: %v", time.Since(began), wait, err)
			}
			return all
		}
		time.AfterFunc(time.Second, func() {
			if got := pull(20 * time.Second); len(got) > 0 || len(s.leases.HeldUp("billing")) != 1 {
				t.Errorf("pulled %d of a paused subscription", len(got))
			}
			if got := pull(0); len(got) > 0 {
				t.Errorf("pulled %d without a wait", len(got))
			}
			time.AfterFunc(time.Second, func() { o.Brake.Release(Paused) })
			got := pull(20 * time.Second)
			if len(got) == 1 { // the other was not there yet
				got = append(got, pull(time.Second)...)
			}
			for _, one := range got {
				if _, err := s.leases.Ack(t.Context(), one.ID); err != nil || one.Attempt != 1 {
					t.Errorf("attempt %d: %v", one.Attempt, err)
				}
			}
			if len(got) != 2 {
				t.Errorf("pulled %d after the pause", len(got))
			}
		})
		s.run(10*time.Minute, delivery("a"), delivery("b"))
		if s.ends["a"] != nil || s.ends["b"] != nil {
			t.Error(s.ends)
		}
	})
}

// TestPausesSurviveARestart: what an operator has paused is paused after the database
// was closed, and what was resumed is not; a damaged entry is a pause.
func TestPausesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	opened := func(do func(*kv.DB, *Pauses)) {
		db, err := kv.Open(t.Context(), kv.Options{Dir: dir, CloseWait: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p, err := OpenPauses(db)
		if err != nil {
			t.Fatal(err)
		}
		do(db, p)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var since time.Time
	opened(func(db *kv.DB, p *Pauses) {
		var err error
		if since, err = p.Pause(t.Context(), "billing"); err != nil {
			t.Fatal(err)
		}
		if again, err := p.Pause(t.Context(), "billing"); err != nil || !again.Equal(since) {
			t.Errorf("paused again at %v: %v", again, err)
		}
		_, paused := p.Pause(t.Context(), "audit")
		if err := p.Resume(t.Context(), "audit"); err != nil || paused != nil {
			t.Error(err, paused)
		}
		q := kv.Attach(db, raw{})
		if err := q.Commit(t.Context(), []byte(pausePrefix+"rotten"), 100); err != nil {
			t.Fatal(err)
		}
	})
	opened(func(_ *kv.DB, p *Pauses) {
		if got, is := p.Since("billing"); !is || !got.Equal(since) {
			t.Errorf("billing is paused: %t, since %v and not %v", is, got, since)
		}
		_, audit := p.Since("audit")
		_, rotten := p.Since("rotten")
		if audit || !rotten {
			t.Errorf("audit paused: %t; rotten: %t", audit, rotten)
		}
		if err := p.Resume(t.Context(), "billing"); err != nil {
			t.Error(err)
		}
	})
	opened(func(_ *kv.DB, p *Pauses) {
		if _, is := p.Since("billing"); is {
			t.Error("resumed, and paused after a restart")
		}
	})
}

// raw writes bytes that are no entry.
type raw struct{}

func (raw) Write(tx *kv.Tx, keys [][]byte) error {
	for _, k := range keys {
		tx.Set(k, []byte("not what was written"))
	}
	return nil
}

func (raw) Synced([][]byte) {}
