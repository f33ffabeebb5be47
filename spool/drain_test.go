package spool_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// Between the apply of a confirmation and its sync, a message used to be counted
// out twice: as settled, and as about to be.
func TestDrainedWaitsForTheLastMessage(t *testing.T) {
	var r *rig
	early := make(chan error, 1)
	db := kv.Options{LazyDelay: time.Hour, OnCommit: func(kv.CommitStats) {}}
	r = newRigOn(t, spool.Options{}, db)
	r.accept(draft("t", "a"), draft("t", "b"))
	r.confirm(r.lease("t", 1))
	applied := false
	r.behind(func(*kv.Tx) { // rides in the commit that applies the confirmation, after it
		applied = r.Ledger().Total.Confirmed == 1
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		early <- r.Drained(ctx)
	})
	if err := <-early; err == nil || !applied {
		t.Fatalf("drained while one message waits (applied: %v)", applied)
	}
	r.confirm(r.lease("t", 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Drained(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestDrainedSeesACancelOnDisk(t *testing.T) {
	r := newRig(t, spool.Options{Window: 1})
	r.accept(draft("t", "a"))
	id := r.accept(draft("t", "b"))[0].ID
	r.confirm(r.lease("t", 1))
	drained := make(chan error)
	go func() { drained <- r.Drained(t.Context()) }()
	if _, err := r.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-drained:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Drained sleeps on")
	}
}

// A drain must not wait for what an operator keeps back: neither for the
// message on hold nor for what comes behind it.
func TestDrainedWithAHold(t *testing.T) {
	for name, window := range map[string]int64{"all in memory": 0, "one at a time": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{Window: window})
			id := r.accept(keyed("t", "1", "k"))[0].ID
			r.accept(keyed("t", "2", "k"), keyed("t", "other", "l"))
			r.accept(keyed("t", "3", "k"))
			r.putOnHold(id)
			drained := make(chan error)
			go func() { drained <- r.Drained(t.Context()) }()
			leases := r.lease("t", 0)
			select {
			case err := <-drained:
				t.Fatalf("drained while a message is in flight: %v", err)
			default:
			}
			r.confirm(leases)
			r.none("t") // looks for more, as the forwarder does
			ends(t, drained)
			r.releaseHeld(id)
			if first := bodies(r.lease("t", 1)); fmt.Sprint(first) != "[1]" {
				t.Errorf("released, and leased %v", first)
			}
		})
	}
}

// ends expects that a drain does, though something waits behind a hold.
func ends(t *testing.T, drained <-chan error) {
	t.Helper()
	select {
	case err := <-drained:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for what waits behind a hold")
	}
}

// What is given back may wait behind a dead letter that has come meanwhile, and be
// all that is left: nothing else would tell the drain.
func TestDrainedSeesWhatIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, spool.Options{BlockOnDead: true})
		r.accept(keyed("t", "1", "k"), keyed("t", "2", "k"))
		leases := r.lease("t", 2)
		r.bury(leases[0])
		drained := make(chan error, 1)
		go func() { drained <- r.Drained(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-drained:
			t.Fatalf("drained while a message is in flight: %v", err)
		default:
		}
		r.Release(leases[1:])
		synctest.Wait()
		select {
		case err := <-drained:
			if err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal("Drained sleeps on")
		}
	})
}

// The end of a copy may be all that a drain waits for, where what else is left of its
// block is kept back: nothing else would tell the drain.
func TestDrainedSeesTheEndOfACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, retaining())
		r.accept(draft("t", "1"), draft("t", "2"))
		r.confirm(r.lease("t", 2))
		r.Flush()
		r.resend(spool.ResendFilter{}, 2)
		leases := r.lease("t", 2)
		r.pauseTopic("t")
		r.Release(leases[1:])
		drained := make(chan error, 1)
		go func() { drained <- r.Drained(t.Context()) }()
		synctest.Wait()
		if len(drained) > 0 {
			t.Fatalf("drained while a copy is in flight: %v", <-drained)
		}
		r.confirm(leases[:1])
		synctest.Wait()
		select {
		case err := <-drained:
			if err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal("Drained sleeps on")
		}
	})
}
