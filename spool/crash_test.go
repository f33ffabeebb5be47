package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// The crash table of doc.go, row by row. What power loss leaves of a file system
// is tested elsewhere: here a process dies and the page cache lives on.

// dying is an append under a key, of which the process dies before the answer.
func dying(r *rig) <-chan message.Receipt {
	answer := make(chan message.Receipt, 1)
	s := r.Spool
	go func() {
		receipts, err := s.Append(context.Background(), []spool.Draft{under("key", draft("t", "new"))})
		if err != nil {
			r.t.Errorf("append: %v", err)
			receipts = []message.Receipt{{}}
		}
		answer <- receipts[0]
	}()
	return answer
}

// retried appends the same again and fails the test unless there is one message
// of that key, beside the old one.
func (r *rig) retried() message.Receipt {
	r.t.Helper()
	got := r.accept(under("key", draft("t", "new")))[0]
	if n := r.balanced(); n.Held != 2 {
		r.t.Fatalf("%d messages, want the old one and the new one once", n.Held)
	}
	if all := fmt.Sprint(bodies(append(r.lease("t", 1), r.lease("t", 1)...))); all != "[old new]" {
		r.t.Fatal(all)
	}
	return got
}

func TestDiedBeforeTheCommitLeavesNothing(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "old"))
	goOn := r.hold()
	answer := dying(r)
	copied := make(chan struct{})
	eventually(t, func() bool { return r.db.Stats().Queued >= 1 })
	r.post(func(*kv.Tx) { copyStill(t, r.dbDir(), r.dbDir()+".died"); close(copied) })
	goOn()
	<-copied // the append was written into the transaction, and this not committed
	<-answer
	r.become(r.dbDir() + ".died")
	if n := r.Ledger().Total.Accepted; n != 1 {
		t.Fatalf("%d messages, want the old one", n)
	}
	if got := r.retried(); got.Duplicate {
		t.Fatal("nothing was stored: it is no duplicate")
	}
}

func TestWrittenAndNotSyncedIsAllOrNothing(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "old"))
	before := r.dbDir() + ".before" // nothing but the log knows of what follows
	copyStill(t, r.dbDir(), before)
	from := len(bytes.TrimRight(r.log(), "\x00"))
	<-dying(r)
	written := bytes.TrimRight(r.log(), "\x00")
	stored := map[bool]int{}
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			died := &rig{t: t, dir: t.TempDir()}
			copyStill(t, before, died.dbDir())
			died.setLog(written[:from+(len(written)-from)*i/7])
			died.open()
			defer died.close()
			if got := died.Ledger().Total.Accepted; got != 1 && got != 2 {
				t.Fatalf("%d messages", got)
			}
			stored[died.retried().Duplicate]++
		})
	}
	if stored[true] == 0 || stored[false] == 0 {
		t.Fatalf("no cut lies before, or none behind the end of the transaction: %v", stored)
	}
}

func TestSyncedAndNotAnsweredGivesTheSameReceipt(t *testing.T) {
	var r *rig
	copied := make(chan struct{}, 1)
	var armed atomic.Bool
	r = newRigOn(t, spool.Options{}, kv.Options{OnCommit: func(kv.CommitStats) {
		if armed.CompareAndSwap(true, false) {
			copyStill(t, r.dbDir(), r.dbDir()+".died")
			copied <- struct{}{}
		}
	}})
	r.accept(draft("t", "old"))
	armed.Store(true)
	answer := dying(r)
	<-copied
	want := <-answer
	r.become(r.dbDir() + ".died")
	if got := r.retried(); !got.Duplicate || got.ID != want.ID {
		t.Fatalf("%+v, want the receipt of %s", got, want.ID)
	}
}

func TestAnsweredAndNotForwardedSurvives(t *testing.T) {
	r := newRig(t, spool.Options{})
	want := r.accept(draft("t", "small"), keyed("t", "keyed", "k"), draft("u", large('L')))
	r.kill()
	r.balanced()
	for _, w := range want {
		got, err := r.Receipt(t.Context(), w.ID)
		if err != nil || got.State != message.StatePending || !got.AcceptedAt.Equal(w.AcceptedAt) {
			t.Errorf("%+v %v", got, err)
		}
	}
	if got := fmt.Sprint(bodies(r.lease("t", 0)), bodies(r.lease("t", 0))); got != "[small] [keyed]" {
		t.Error(got)
	}
	if got := r.lease("u", 0); got[0].ID != want[2].ID || string(got[0].Body) != large('L') {
		t.Error("the large message is not what it was")
	}
}

func TestSentAndAnswerNotReadIsSentAgainUnderTheSameID(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "a"))
	sent := r.lease("t", 0)[0].ID
	r.kill()
	if again := r.lease("t", 0)[0]; again.ID != sent {
		t.Fatalf("sent again as %s, was %s", again.ID, sent)
	}
}

func TestConfirmedAndNotRecordedIsSentAgainUnderTheSameID(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	r.accept(draft("t", "a"))
	leases := r.lease("t", 0)
	r.confirm(leases)
	if got, err := r.Wait(t.Context(), leases[0].ID); err != nil || got.State != message.StateConfirmed {
		t.Fatalf("%v %v", got.State, err)
	}
	r.kill()
	again := r.lease("t", 0)
	if again[0].ID != leases[0].ID {
		t.Fatalf("sent again as %s, was %s", again[0].ID, leases[0].ID)
	}
	r.confirm(again)
	r.committed()
	r.kill()
	if got, err := r.Receipt(t.Context(), again[0].ID); err != nil || got.State != message.StateConfirmed {
		t.Fatalf("%v %v", got.State, err)
	}
	r.balanced()
}

func TestChunksWithoutTheirRecordAreSwept(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", large('L')))
	e := r.find("sc")[0]
	orphan := bytes.Clone(e.key)
	orphan[2] ^= 1
	r.behind(func(tx *kv.Tx) { tx.Set(orphan, e.value) }) // a process died between chunk and record
	r.kill()
	if left := r.find("sc"); len(left) != 1 || !bytes.Equal(left[0].key, e.key) {
		t.Fatalf("%d chunks", len(left))
	}
	r.lease("t", 0)
}

func TestPayloadIsGoneWithItsMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", large('a')), draft("t", large('b')))
	r.confirm(r.lease("t", 1))
	r.reopen()
	if chunks, sets := len(r.find("sc")), len(r.find("sx")); chunks != 1 || sets != 1 {
		t.Fatalf("%d chunks, %d sets", chunks, sets)
	}
	if got := r.lease("t", 0); string(got[0].Body) != large('b') {
		t.Fatal("the wrong one is gone")
	}
}

// A caller that gives up before its commit begins leaves nothing.
func TestCallerThatGivesUpLeavesNothing(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "old"))
	r.attach()
	goOn := r.hold()
	defer goOn()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := r.Append(ctx, []spool.Draft{under("key", draft("t", "new"))})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, spool.ErrUnknown) {
		t.Fatal(err)
	}
	goOn()
	if got := r.retried(); got.Duplicate {
		t.Fatal("it was stored after all: the retry is a duplicate")
	}
}

// become is what kill does, with a copy that was made before.
func (r *rig) become(dir string) {
	r.t.Helper()
	r.life++
	if err := os.Rename(dir, r.dbDir()); err != nil {
		r.t.Fatal(err)
	}
	r.close()
	r.open()
}

// post queues a change behind the spool's back, and does not wait for it.
func (r *rig) post(do func(*kv.Tx)) { r.attach().Post(do, 1<<10) }

// logFile is the write-ahead log that is being written.
func (r *rig) logFile() string {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dbDir(), "*.mem"))
	for _, name := range slices.Backward(names) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 { // else it is prepared for later
			return name
		}
	}
	r.t.Fatal("no log", err)
	return ""
}

func (r *rig) log() []byte {
	r.t.Helper()
	b, err := os.ReadFile(r.logFile())
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// setLog makes b the content of the log, as if nothing else had been written.
func (r *rig) setLog(b []byte) {
	r.t.Helper()
	whole := make([]byte, len(r.log()))
	copy(whole, b)
	if err := os.WriteFile(r.logFile(), whole, 0o600); err != nil {
		r.t.Fatal(err)
	}
}
