package ackgate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// A handler fails when so many of so many calls did, each of another message.
const (
	paceWindow = 20
	paceFailed = 16
)

// pace slows the calls of a handler of which most fail. Each failed call costs a
// message an attempt, and what makes most of them fail is the handler, not the
// messages: an hour of it must not take the attempts of everything that waits. So of a
// message only the first failure of a delivery counts, and only once among the recent
// calls: what blocks its ordering key, or is retried beside few others, is no handler
// that fails.
//
// While it fails one call at a time probes it, with a growing wait between them. A
// probe that is answered doubles the calls that may run, until all may: what has
// just come back is not met by all that waits at once.
type pace struct {
	retry backoff.Policy // between probes
	most  int            // calls at a time

	mu       sync.Mutex
	recent   [paceWindow]string // a ring: of which message the call failed; "": it did not
	at, n    int
	bad      int // in recent
	last     string
	failing  bool
	since    time.Time
	allowed  int // calls at a time while it fails
	running  int
	failures int       // probes in a row
	next     time.Time // when the next probe may begin
	changed  chan struct{}
}

func newPace(retry backoff.Policy, most int) *pace {
	return &pace{retry: retry, most: most, changed: make(chan struct{})}
}

// stride is one call. Its end is leave, once.
type stride struct {
	p      *pace
	probe  bool
	failed <-chan struct{} // closed: the handler has begun to fail; of a probe, something has changed
}

// enter waits until a call may run.
func (p *pace) enter(ctx context.Context) (stride, error) {
	for {
		s, wait, changed := p.try()
		if s.p != nil {
			return s, nil
		}
		if err := sleepUnless(ctx, wait, changed); err != nil {
			return stride{}, err
		}
	}
}

func (p *pace) try() (s stride, wait time.Duration, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.failing:
	case p.running >= p.allowed:
		return stride{}, math.MaxInt64, p.changed
	default:
		if wait = time.Until(p.next); wait > 0 {
			return stride{}, wait, p.changed
		}
	}
	p.running++
	return stride{p, p.failing, p.changed}, 0, nil
}

// cede gives the stride to another, without a call.
func (s stride) cede() { s.leave("", 0, unseen, "") }

// leave tells how the call for a message ended, which has failed so often before in
// this delivery, and returns whether that turned the handler from well to failing, or
// back.
func (s stride) leave(message string, before int, r result, code string) (turned bool) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	was := p.failing
	switch {
	case r == unseen:
	case !p.failing && r == working:
		p.note("")
	case !p.failing && before == 0:
		p.failed(message, code)
	case !p.failing:
	case !s.probe: // from before
	case r == broken:
		p.last = code
		p.allowed = 1
		p.wait()
	default:
		p.recover()
	}
	if was || p.failing {
		close(p.changed)
		p.changed = make(chan struct{})
	}
	return was != p.failing
}

// failed takes a failure into the ring, unless the message has one there.
func (p *pace) failed(message, code string) {
	p.last = code
	if slices.Contains(p.recent[:], message) {
		return
	}
	p.note(message)
	p.bad++
	if p.n == paceWindow && p.bad >= paceFailed {
		p.failing, p.since, p.allowed, p.failures = true, time.Now(), 1, 0
		p.wait()
	}
}

// note takes a call into the ring, and the oldest one out.
func (p *pace) note(failed string) {
	if p.recent[p.at] != "" {
		p.bad--
	}
	p.recent[p.at], p.at, p.n = failed, (p.at+1)%paceWindow, min(p.n+1, paceWindow)
}

func (p *pace) wait() {
	p.failures++
	p.next = time.Now().Add(p.retry.Delay(p.failures, backoff.Random{}))
}

// recover lets more calls run, and forgets the failures when all may.
func (p *pace) recover() {
	p.failures, p.next = 0, time.Time{}
	if p.allowed *= 2; p.allowed < p.most {
		return
	}
	p.failing, p.recent, p.at, p.n, p.bad = false, [paceWindow]string{}, 0, 0, 0
}

func (p *pace) isFailing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}

// tell is the cause for which the pace holds calls up, if it does.
func (p *pace) tell() (why HeldUp, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.failing {
		return HeldUp{}, false
	}
	return HeldUp{Failing, p.since, fmt.Sprintf("%d of %d calls failed, the last one with %s; at most %d at a time%s", p.bad, paceWindow, p.last, p.allowed, noAck(p.last))}, true
}

// noAck is what to do about a status that the application may take for an ack.
func noAck(code string) string {
	if len(code) != 3 || code[0] != '2' {
		return ""
	}
	return fmt.Sprintf("; %s is no ack: answer 200, or list %s in ack_statuses", code, code)
}

// seenOf is what an answer tells of the handler, beside that it was reached. One
// that asks to wait says itself how it wants to be called.
func seenOf(ctx context.Context, a push.Answer) result {
	switch a.Disposition {
	case push.Done, push.Leased, push.DeadLetter:
		return working
	case push.Wait, push.Unreachable:
		return unseen
	default:
		if ctx.Err() != nil {
			return unseen // cut off by us
		}
		return broken
	}
}

// sayPace tells that the handler fails, or does no more.
func (g *Gate) sayPace(turned bool) {
	if !turned {
		return
	}
	gauge := g.metrics.heldUp.WithLabelValues(g.o.Subscription, string(Failing))
	if why, is := g.pace.tell(); is {
		gauge.Set(1)
		g.log.Error("most calls of the handler fail; it is called one message at a time until it answers", "detail", why.Detail)
		return
	}
	gauge.Set(0)
	g.log.Info("handler answers again; it is called as before")
}
