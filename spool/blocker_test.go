package spool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// blocked is a spool with a dead letter of key k, two messages behind it, and one
// of another key.
func blocked(t *testing.T, opts spool.Options) (r *rig, dead, behind message.ID) {
	r = newRig(t, opts)
	receipts := r.accept(keyed("t", "1", "k"), keyed("t", "2", "k"), keyed("t", "3", "k"), keyed("t", "4", "other"))
	r.bury(r.lease("t", 1)[0])
	return r, receipts[0].ID, receipts[1].ID
}

// leasable are the bodies of all that can be leased now.
func (r *rig) leasable(topic string) []string { return r.awaitLeasable(topic, 0) }

// awaitLeasable waits for so many messages, however slow the machine is, and then until
// nothing more comes, and nothing is being read.
func (r *rig) awaitLeasable(topic string, want int) (all []string) {
	r.t.Helper()
	for {
		wait := 50 * time.Millisecond
		if len(all) < want {
			wait = time.Minute
		}
		before := spool.Progress(r.Spool, topic)
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		leases, err := r.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: 9})
		cancel()
		if err != nil && spool.Progress(r.Spool, topic) == before {
			return all
		}
		all = append(all, bodies(leases)...)
		r.confirm(leases)
	}
}

func (r *rig) blockedBy(id message.ID) message.ID {
	r.t.Helper()
	item, err := r.Find(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	page, err := r.List(context.Background(), spool.Query{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, i := range page.Items {
		if i.ID == id && i.BlockedBy != item.BlockedBy {
			r.t.Errorf("in the list it waits for %s, by itself for %s", i.BlockedBy, item.BlockedBy)
		}
	}
	return item.BlockedBy
}

// A dead letter keeps its ordering key waiting, also over a restart, until it is
// discarded, or is sent before the others.
func TestDeadLetterBlocksItsKey(t *testing.T) {
	for name, tc := range map[string]struct {
		act  func(*rig, message.ID) error
		then string
	}{
		"discarded": {func(r *rig, id message.ID) error {
			_, _, err := r.Discard(t.Context(), []message.ID{id})
			return err
		}, "[2 3]"},
		"redriven": {func(r *rig, id message.ID) error {
			_, _, err := r.Redrive(t.Context(), []message.ID{id})
			return err
		}, "[1 2 3]"},
		"redriven, and a restart": {func(r *rig, id message.ID) error {
			_, _, err := r.Redrive(t.Context(), []message.ID{id})
			r.reopen()
			return err
		}, "[1 2 3]"},
		"redriven, held, and released": {func(r *rig, id message.ID) error {
			if _, _, err := r.Redrive(t.Context(), []message.ID{id}); err != nil {
				return err
			}
			if _, err := r.Hold(t.Context(), id); err != nil {
				return err
			}
			r.none("t")
			_, err := r.ReleaseHeld(t.Context(), id)
			return err
		}, "[1 2 3]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, dead, behind := blocked(t, spool.Options{BlockOnDead: true})
			if got := fmt.Sprint(r.awaitLeasable("t", 1)); got != "[4]" || r.BlockedKeys() != 1 || r.blockedBy(behind) != dead {
				t.Fatalf("leased %s, %d keys are blocked, by %s", got, r.BlockedKeys(), r.blockedBy(behind))
			}
			drained, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := r.Drained(drained); err != nil {
				t.Errorf("a drain waits for what is blocked: %v", err)
			}
			r.reopen()
			if got := r.leasable("t"); len(got) > 0 || r.BlockedKeys() != 1 || r.blockedBy(behind) != dead {
				t.Fatalf("after a restart: leased %s", got)
			}
			if err := tc.act(r, dead); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(r.awaitLeasable("t", len(strings.Fields(tc.then)))); got != tc.then || r.BlockedKeys() != 0 {
				t.Errorf("leased %s, want %s; %d keys are blocked", got, tc.then, r.BlockedKeys())
			}
			r.balanced()
		})
	}
}

// A message that dies again blocks again.
func TestDeadLetterBlocksAgain(t *testing.T) {
	r, dead, _ := blocked(t, spool.Options{BlockOnDead: true})
	r.awaitLeasable("t", 1)
	if _, _, err := r.Redrive(t.Context(), []message.ID{dead}); err != nil {
		t.Fatal(err)
	}
	r.bury(r.lease("t", 1)[0])
	if got := r.leasable("t"); len(got) > 0 || r.BlockedKeys() != 1 {
		t.Errorf("leased %s", got)
	}
}

// One that was redriven blocks no more when it is cancelled before it was in its window.
func TestWhatIsCancelledBlocksNoMore(t *testing.T) {
	r, dead, _ := blocked(t, spool.Options{BlockOnDead: true})
	r.awaitLeasable("t", 1)
	r.redrive(dead)
	r.putOnHold(dead)
	r.cancelled(dead)
	if got := fmt.Sprint(r.awaitLeasable("t", 2)); got != "[2 3]" || r.BlockedKeys() != 0 {
		t.Errorf("leased %s; %d keys are blocked", got, r.BlockedKeys())
	}
	r.balanced()
}

// By default later messages of the key go on.
func TestDeadLetterIsSkipped(t *testing.T) {
	r, _, behind := blocked(t, spool.Options{})
	if r.blockedBy(behind) != (message.ID{}) {
		t.Error("it is said to wait")
	}
	if got := fmt.Sprint(r.awaitLeasable("t", 3)); got != "[2 3 4]" && got != "[4 2 3]" {
		t.Errorf("leased %s", got)
	}
}

// A dead letter that was imported keeps its ordering key waiting as it did where it comes
// from: what came with it, what comes later, and over a restart.
func TestAnImportedDeadLetterBlocksItsKey(t *testing.T) {
	from, _, _ := blocked(t, spool.Options{BlockOnDead: true})
	export := from.export(spool.Query{})
	for name, restart := range restarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spool.Options{BlockOnDead: true})
			if got := r.take(export); got.Messages != 4 {
				t.Fatalf("imported %+v", got)
			}
			r.accept(keyed("t", "5", "k"))
			restart(r)
			if got := fmt.Sprint(r.leasable("t")); got != "[4]" || r.BlockedKeys() != 1 {
				t.Fatalf("leased %s, %d keys are blocked", got, r.BlockedKeys())
			}
			for _, e := range r.exceptions("t", 1) {
				r.redrive(e.ID)
			}
			if got := fmt.Sprint(r.leasable("t")); got != "[1 2 3 5]" {
				t.Errorf("leased %s", got)
			}
			r.balanced()
		})
	}
}
