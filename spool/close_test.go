package spool_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestCloseEndsEveryCallThatWaits(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	r.lease("t", 0)
	if _, err := r.NextTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	ended := make(chan error)
	for _, call := range []func() error{
		func() error { _, err := r.Lease(ctx, "t", spool.LeaseOptions{}); return err },
		func() error { _, err := r.NextTopic(ctx); return err },
		func() error { return r.Drained(ctx) },
		func() error {
			got, err := r.Wait(ctx, id)
			if err == nil && got.State == message.StateInFlight {
				err = spool.ErrClosed // it says how things stand instead
			}
			return err
		},
	} {
		go func() { ended <- call() }()
	}
	if err := r.Spool.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		select {
		case err := <-ended:
			if !errors.Is(err, spool.ErrClosed) {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a call waits on")
		}
	}
	if _, err := r.Append(ctx, []spool.Draft{draft("t", "y")}); !errors.Is(err, spool.ErrClosed) {
		t.Error(err)
	}
	if _, err := r.Cancel(ctx, id); !errors.Is(err, spool.ErrClosed) {
		t.Error(err)
	}
	if err := r.Spool.Close(); err != nil {
		t.Error("a second Close:", err)
	}
}

// Close returns when what was confirmed is on disk, also without a commit to ride in.
func TestCloseRecordsWhatWasConfirmed(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	r.confirm(r.lease("t", 0))
	if err := r.Spool.Close(); err != nil {
		t.Fatal(err)
	}
	r.kill()
	if got, err := r.Receipt(t.Context(), id); err != nil || got.State != message.StateConfirmed {
		t.Fatal(got.State, err)
	}
}

func TestWaitHearsOfEveryEnd(t *testing.T) {
	r := newRig(t, spool.Options{})
	ends := map[message.State]func(message.ID){
		message.StateConfirmed: func(message.ID) { r.confirm(r.lease("t", 1)) },
		message.StateDead:      func(message.ID) { r.bury(r.lease("t", 1)[0]) },
		message.StateCancelled: func(id message.ID) {
			if _, err := r.Cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
		},
	}
	for want, end := range ends {
		id := r.accept(draft("t", "x"))[0].ID
		const waiters = 3
		got := make(chan message.Receipt, waiters)
		for range waiters {
			go func() {
				receipt, err := r.Wait(t.Context(), id)
				if err != nil {
					t.Error(err)
				}
				got <- receipt
			}()
		}
		end(id)
		for range waiters {
			select {
			case receipt := <-got:
				if receipt.State != want {
					t.Errorf("heard of %s, want %s", receipt.State, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("nobody heard of %s", want)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	id := r.accept(draft("t", "x"))[0].ID
	if got, err := r.Wait(ctx, id); err != nil || got.State != message.StatePending {
		t.Errorf("after its context: %s %v", got.State, err)
	}
}

// whenAsked is a context that calls fn when it is first asked whether it is done.
type whenAsked struct {
	context.Context //nolint:containedctx // it is one

	fn func()
}

func (c whenAsked) Err() error { c.fn(); return c.Context.Err() }

// A spool that closes while its numbers are read was not damaged.
func TestClosingIsNotNoticedAsDamage(t *testing.T) {
	from := newRig(t, spool.Options{})
	from.accept(draft("t", "1"), draft("t", "2"), draft("t", "3"))
	for _, l := range from.lease("t", 0) {
		from.bury(l)
	}
	r := newRig(t, spool.Options{})
	r.accept(draft("other", "whose sequence is that of no imported message"))
	if done := r.take(from.export(spool.Query{})); done.Messages != 3 {
		t.Fatalf("imported %+v", done)
	}
	closed := make(chan error, 1)
	ctx := whenAsked{t.Context(), sync.OnceFunc(func() {
		go func() { closed <- errors.Join(r.Spool.Close(), r.db.Close()) }()
		for {
			if _, err := r.db.Get([]byte("any")); errors.Is(err, kv.ErrClosed) {
				return
			}
			runtime.Gosched()
		}
	})}
	list, _ := r.Exceptions(ctx, "t", "", 10)
	if n := len(list.Items); n != 3 || list.Items[0].TopicSeq != 1 || list.Items[2].TopicSeq != 0 {
		t.Fatalf("it did not close meanwhile: %+v", list.Items)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	r.IsImported(message.Message{ID: list.Items[0].ID})
	if d := r.Damage(); d.Pending() {
		t.Errorf("noticed as damage: %q", d.Seen)
	}
	r.Spool = nil // it is closed
}
