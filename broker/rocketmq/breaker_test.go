package rocketmq

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

func testBreakers() *breakers { return newBreakers(slog.New(slog.DiscardHandler)) }

var down = &broker.SendError{Status: "SLAVE_NOT_AVAILABLE", Stored: true}

// Answers to what was sent before a breaker opened neither close it nor put the
// next probe off.
func TestOnlyAProbeMovesAnOpenBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreakers()
		b.end("a", false, down)
		b.end("a", false, nil)
		if b.closed("a") || !b.closed("b") {
			t.Error("want a open, b closed")
		}
		time.Sleep(probeWait.Initial)
		b.end("a", false, down)
		if !b.due("a") || !b.probe("a") || b.probe("a") {
			t.Error("want one probe")
		}
		b.end("a", false, nil)
		if b.probe("a") {
			t.Error("want one probe at a time, whatever else is answered")
		}
		b.end("a", true, nil)
		if !b.closed("a") {
			t.Error("SEND_OK did not close it")
		}
	})
}

func TestProbesComeAtGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreakers()
		b.end("a", false, down)
		var last time.Duration
		for n := range 20 {
			began := time.Now()
			for !b.probe("a") {
				time.Sleep(time.Millisecond)
			}
			last = time.Since(began)
			if ceiling := probeWait.Ceiling(n + 1); last > ceiling+time.Millisecond || last < ceiling/2 {
				t.Fatalf("probe %d came after %v, want %v to %v", n+1, last, ceiling/2, ceiling)
			}
			b.end("a", true, down)
		}
		if last > probeWait.Max+time.Millisecond {
			t.Errorf("the last one waited %v", last)
		}
	})
}

// A message that is refused for what it is says nothing of the broker: the next
// one may probe at once.
func TestRefusedMessageIsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreakers()
		b.end("a", false, down)
		time.Sleep(probeWait.Initial)
		b.probe("a")
		b.end("a", true, &broker.SendError{Outcome: permanent, Status: "MESSAGE_ILLEGAL"})
		if b.closed("a") || !b.probe("a") {
			t.Error("want it open, and probed again at once")
		}
	})
}

func TestFailingNamesWhatMessagesAreMeantFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreakers()
		b.end("z", false, down)
		b.end("a", false, down)
		if got := b.failing(); !slices.Equal(got, []string{"a", "z"}) {
			t.Error(got)
		}
		time.Sleep(idleTime + probeWait.Initial)
		b.probe("z")
		if got := b.failing(); !slices.Equal(got, []string{"z"}) {
			t.Errorf("%v: nothing is sent to a", got)
		}
	})
}

func TestWhatOpensABreaker(t *testing.T) {
	for status, opens := range map[string]bool{
		"FLUSH_DISK_TIMEOUT": true, "SYSTEM_ERROR": true, statusTimeout: true, statusBroken: true, statusMalformed: true,
	} {
		if opensBreaker(&broker.SendError{Status: status}) != opens {
			t.Errorf("unknown, %s: want %t", status, opens)
		}
	}
	for status, opens := range map[string]bool{
		statusConnect: true, "SERVICE_NOT_AVAILABLE": true, "GO_AWAY": true,
		"SYSTEM_BUSY": false, "FLOW_CONTROL": false, "NO_PERMISSION": false, "TOPIC_NOT_EXIST": false, "NOT_LEADER_FOR_QUEUE": false,
	} {
		if opensBreaker(&broker.SendError{Outcome: retryable, Status: status}) != opens {
			t.Errorf("retryable, %s: want %t", status, opens)
		}
	}
}

// Ten minutes without a slave cost copies in the order of what was in flight, not
// of what waits.
func TestCopiesAreBoundedByInFlightAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		f.queues = queues("a", 4)
		const inFlight, batch = 16, 64
		var mu sync.Mutex
		copies, probes := 0, 0
		f.answer = func(_ context.Context, msgs []*primitive.Message) (*primitive.SendResult, error) {
			mu.Lock()
			if copies += len(msgs); len(msgs) == 1 {
				probes++
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			return &primitive.SendResult{Status: primitive.SendSlaveNotAvailable, OffsetMsgID: "X"}, nil
		}
		var senders sync.WaitGroup
		for n := range inFlight {
			senders.Go(func() {
				for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
					msgs := make([]*message.Message, batch)
					for i := range msgs {
						msgs[i] = testMessage(uint64(n*batch+i), "")
					}
					if l.selector.probe("t") {
						msgs = msgs[:1]
					}
					if _, e := l.send(t.Context(), "", msgs); e == nil || e.Status == statusOpen && (e.Outcome != retryable || !e.Probe || e.Queue != "a") {
						t.Errorf("%+v", e)
					}
				}
			})
		}
		senders.Wait()
		if copies > inFlight*batch+probes {
			t.Errorf("%d copies: %d in flight at the first, %d probes", copies, inFlight*batch, probes)
		}
		if most := int(20*time.Minute/probeWait.Max) + 10; probes < most/4 || probes > most {
			t.Errorf("%d probes in ten minutes, want up to %d", probes, most)
		}
	})
}
