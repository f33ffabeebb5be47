package spool_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Of the tests of turns: topics with backlogs, of which together there are many times the
// budget.
const (
	turnWindow = 4 * budget
	aTurn      = turnWindow / 16
	turnTopics = 20
	ofTurn     = 1<<10 + 256 // what a message takes, and a little more
)

// turnRig has all room taken by leases of the topics, whose attempts succeed.
type turnRig struct {
	*rig

	clock  atomic.Int64   // that turns are judged by, in nanoseconds
	leases []*spool.Lease // of the first topics above all
	last   []*spool.Lease // of the last topic
}

func backlog(i int) string { return fmt.Sprint("backlog", i) }

func newTurnRig(t *testing.T) *turnRig {
	t.Helper()
	r := &turnRig{rig: newRig(t, spool.Options{Window: turnWindow})}
	body := strings.Repeat("x", 1<<10)
	for range 10 {
		for i := range turnTopics {
			r.accept(repeat(50, draft(backlog(i), body))...)
			if i >= turnTopics-2 { // which have several turns
				r.accept(repeat(200, draft(backlog(i), body))...)
			}
		}
	}
	r.reopen()
	r.SetTurnClock(func() time.Time { return time.Unix(1e9, r.clock.Load()) })
	for i := range turnTopics {
		r.last = r.leaseRest(backlog(i))
		r.leases = append(r.leases, r.last...)
	}
	over := r.Windows() - turnWindow*3/4
	if over < 0 {
		t.Fatalf("%d bytes are left: the test proves nothing", -over)
	}
	r.leave(int(over))
	r.ForgetWaits()
	return r
}

// leave confirms what takes so many bytes in memory.
func (r *turnRig) leave(bytes int) {
	n := (bytes + ofTurn - 1) / ofTurn
	r.confirm(r.leases[:n])
	r.leases = r.leases[n:]
}

// awaits has a caller wait for a turn of topic, and returns what it then leases.
func (r *turnRig) awaits(topic string, weight int) <-chan []*spool.Lease {
	r.t.Helper()
	leased := make(chan []*spool.Lease, 1)
	go func() {
		leases, err := r.Lease(context.Background(), topic, spool.LeaseOptions{MaxMessages: 1000, Weight: weight})
		if err == nil { // what may be attempted at once was leased first
			leases = append(leases, r.leaseRest(topic)...)
		}
		leased <- leases
	}()
	eventually(r.t, func() bool { return r.Starving(topic) })
	return leased
}

// TestTopicsWithBacklogsTakeTurns: one that has much behind its window reads on when there
// is room for some batches, and not for each message that has left.
func TestTopicsWithBacklogsTakeTurns(t *testing.T) {
	r := newTurnRig(t)
	first, second := r.awaits(backlog(19), 0), r.awaits(backlog(18), 0)
	r.leave(aTurn / 2)
	r.none(backlog(7))
	select {
	case leases := <-first:
		t.Fatalf("%d messages are leased for half a turn", len(leases))
	default:
	}
	r.leave(aTurn)
	if n := len(<-first); n < aTurn/ofTurn*3/4 {
		t.Errorf("a turn brings %d messages", n)
	}
	if !r.Starving(backlog(18)) {
		t.Error("the second has not waited for its turn")
	}
	r.leave(aTurn)
	if n := len(<-second); n < aTurn/ofTurn*3/4 {
		t.Errorf("the second turn brings %d messages", n)
	}
}

// TestNobodyWaitsForATurnThatDoesNotCome: where what fills the windows stays there, a topic
// goes on with what it has of its own.
func TestNobodyWaitsForATurnThatDoesNotCome(t *testing.T) {
	r := newTurnRig(t)
	r.none(backlog(19)) // it waits
	r.clock.Add(int64(spool.TurnWait))
	for range 3 {
		r.confirm(r.lease(backlog(19), 8))
	}
	r.clock.Add(int64(spool.TurnRest)) // it is looked again
	leased := r.awaits(backlog(18), 0)
	r.leave(2 * aTurn)
	if n := len(<-leased); n < aTurn/ofTurn*3/4 {
		t.Errorf("a turn brings %d messages", n)
	}
}

// TestTurnsGoByWeight: who weighs three times as much has three turns for one.
func TestTurnsGoByWeight(t *testing.T) {
	r := newTurnRig(t)
	had := map[string]int{}
	heavy, light := r.awaits(backlog(19), 3), r.awaits(backlog(18), 1)
	for range 8 {
		r.leave(aTurn + 2*ofTurn)
		select {
		case <-heavy:
			had["heavy"]++
			heavy = r.awaits(backlog(19), 3)
		case <-light:
			had["light"]++
			light = r.awaits(backlog(18), 1)
		}
	}
	if had["heavy"] < 5 || had["light"] < 2 {
		t.Errorf("turns: %v", had)
	}
}

// TestLittleWaitsForNoTurn: a topic that was at its end goes on with what was accepted since,
// where that is little, and so does one that fails.
func TestLittleWaitsForNoTurn(t *testing.T) {
	r := newTurnRig(t)
	body := strings.Repeat("x", 30<<10)
	for range 2 { // the first time, nothing was read of it before
		r.accept(draft("little", body))
		r.accept(draft("little", body)) // it fits into no window
		r.confirm(r.lease("little", 1))
		r.confirm(r.lease("little", 1))
	}
	r.accept(draft("little", body))
	r.accept(draft("little", body))
	r.accept(draft("little", strings.Repeat("x", 100<<10))) // it is stored apart, and takes little memory
	for range 3 {
		r.confirm(r.lease("little", 1))
	}
	r.pauseTopic("little")
	r.accept(draft("little", "one"))
	r.resumeTopic("little")
	r.confirm(r.lease("little", 1))
	r.Retry(r.last, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	r.lease(backlog(19), 8)
}

// TestWhoHasSomethingLeavesRoomToOthers: a topic of which something can be leased reads no
// further while another one waits for its turn.
func TestWhoHasSomethingLeavesRoomToOthers(t *testing.T) {
	r := newTurnRig(t)
	hungry := r.awaits(backlog(18), 0)
	r.leave(aTurn / 2)
	r.Release(r.last)
	before := r.Windows()
	r.last = r.lease(backlog(turnTopics-1), 1000)
	if now := r.Windows(); now > before {
		t.Errorf("who had something has read on, %d bytes", now-before)
	}
	r.leave(aTurn)
	if n := len(<-hungry); n < aTurn/ofTurn*3/4 {
		t.Errorf("a turn brings %d messages", n)
	}
}

// TestFewTopicsWaitForNoTurn: what each may have in any case is as much as a turn.
func TestFewTopicsWaitForNoTurn(t *testing.T) {
	r := newRig(t, spool.Options{Window: turnWindow})
	body := strings.Repeat("x", 1<<10)
	const each = 4000
	for range each / 100 {
		for i := range 3 {
			r.accept(repeat(100, draft(backlog(i), body))...)
		}
	}
	r.reopen()
	r.SetTurnClock(func() time.Time { return time.Unix(1e9, 0) }) // who waits for a turn has to wait for room
	for leases, err := r.leaseNow(backlog(0), 1000); err == nil; leases, err = r.leaseNow(backlog(0), 1000) {
		r.Retry(leases, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	}
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			for n := 0; n < each; {
				leases, err := r.Lease(t.Context(), backlog(i+1), spool.LeaseOptions{MaxMessages: 128})
				if err != nil {
					t.Error(err)
					return
				}
				n += len(leases)
				r.confirm(leases)
			}
		})
	}
	all.Wait()
}

// TestTurnThatEndsBetweenTwoLooks at the clock wakes who waits for it.
func TestTurnThatEndsBetweenTwoLooks(t *testing.T) {
	r := newTurnRig(t)
	leased := r.awaits(backlog(19), 0)
	looks := 0
	r.SetTurnClock(func() time.Time { // who looks twice finds that it waits, and then that nobody does
		if looks++; looks <= 4 {
			return time.Unix(1e9, int64(spool.TurnWait)-1)
		}
		return time.Unix(1e9, int64(spool.TurnWait))
	})
	if n := len(<-leased); n == 0 {
		t.Error("nothing is leased")
	}
}

// TestNobodyWaitsForItsTurnForLong: one that waits while others have theirs goes on with what
// it may have in any case.
func TestNobodyWaitsForItsTurnForLong(t *testing.T) {
	r := newTurnRig(t)
	r.none(backlog(19)) // it waits from now on
	r.clock.Add(int64(spool.MostWait) - 1)
	r.ExpectTurn()
	r.none(backlog(19))
	r.clock.Add(1)
	r.confirm(r.lease(backlog(19), 1))
}

// TestATurnThatComesSlowlyIsWaitedFor: while there is more and more room.
func TestATurnThatComesSlowlyIsWaitedFor(t *testing.T) {
	r := newTurnRig(t)
	leased := r.awaits(backlog(19), 0)
	for range 6 {
		r.clock.Add(int64(spool.TurnWait) * 3 / 4)
		if r.leave(aTurn / 8); !r.Starving(backlog(19)) {
			t.Fatal("it goes on before there is room for a turn")
		}
	}
	r.leave(aTurn)
	if n := len(<-leased); n < aTurn/ofTurn*3/4 {
		t.Errorf("a turn brings %d messages", n)
	}
}

// TestFirstReadsWithoutRoomAreShort: of many topics together they would take the memory of
// several windows, and be sent in small batches before anybody has a turn.
func TestFirstReadsWithoutRoomAreShort(t *testing.T) {
	const window, topics = 1 << 20, 60
	r := newRig(t, spool.Options{Window: window})
	for i := range topics {
		r.accept(repeat(40, draft(backlog(i), strings.Repeat("x", 1<<10)))...)
	}
	r.reopen()
	for i := range topics {
		r.lease(backlog(i), 1)
	}
	if got := r.Windows(); got > window*3/2 {
		t.Errorf("%d bytes were read, the budget is %d", got, window)
	}
}
