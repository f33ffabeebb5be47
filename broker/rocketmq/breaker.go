package rocketmq

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

// probeWait is how long an open breaker waits before each probe: short at
// first, for a broker that was restarted, and never so long that one that is
// well again is left out for much.
var probeWait = backoff.Policy{Initial: 200 * time.Millisecond, Max: 10 * time.Second}

// breakers keep messages from brokers that fail, one breaker a broker. An
// attempt that fails opens it; then one message at a time probes the broker,
// until SEND_OK closes it. What leaves a copy behind at each attempt, as a slave
// that is missing does, costs what was in flight and the probes, however much
// waits. All lanes of a producer share them.
type breakers struct {
	log *slog.Logger

	mu   sync.Mutex
	open map[string]*breaker // by broker; a closed one is not there
}

// breaker is open, or probing.
type breaker struct {
	since   time.Time
	due     time.Time // of the next probe
	probes  int       // that failed
	probing bool
}

func newBreakers(log *slog.Logger) *breakers {
	return &breakers{log: log, open: map[string]*breaker{}}
}

func (b *breakers) closed(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[name] == nil
}

// due reports whether a message may probe the broker now.
func (b *breakers) due(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[name].isDue()
}

func (br *breaker) isDue() bool {
	return br != nil && !br.probing && !time.Now().Before(br.due)
}

// probe takes the turn to probe, if it is due. Who got it owes an end.
func (b *breakers) probe(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	br := b.open[name]
	if !br.isDue() {
		return false
	}
	br.probing = true
	return true
}

// end tells how an attempt at the broker ended. Only a probe closes a breaker or
// puts the next probe off: the answers to what was sent before tell of before.
func (b *breakers) end(name string, probed bool, e *broker.SendError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch br := b.open[name]; {
	case br == nil && e != nil && opensBreaker(e):
		b.open[name] = &breaker{since: time.Now(), due: time.Now().Add(probeWait.Delay(1, backoff.Random{}))}
		b.log.Warn("a broker fails: it gets one message at a time until it answers SEND_OK", "broker", name, "error", e)
	case br == nil || !probed:
	case e == nil:
		delete(b.open, name)
		b.log.Info("a broker takes messages again", "broker", name, "failed_for", time.Since(br.since).Round(time.Millisecond), "probes", br.probes+1)
	default:
		br.failed(e)
	}
}

// failed notes a probe without SEND_OK. A message that is refused for what it is
// told nothing of the broker, and another one may try at once.
func (br *breaker) failed(e *broker.SendError) {
	br.probing = false
	if e.Outcome != message.OutcomePermanent && e.Timer == broker.TimerTaken {
		br.probes++
		br.due = time.Now().Add(probeWait.Delay(br.probes+1, backoff.Random{}))
	}
}

// opensBreaker reports whether a failure is the broker's: it does not answer,
// stores without its guarantee, or says that it does not serve. What it refuses
// for the message, the topic or the moment says nothing of other messages.
func opensBreaker(e *broker.SendError) bool {
	if e.Outcome == message.OutcomeUnknown {
		return true
	}
	switch e.Status {
	case statusConnect, "SERVICE_NOT_AVAILABLE", "GO_AWAY":
		return true
	}
	return false
}

// idleTime after a probe was due, nothing is sent to the broker.
const idleTime = time.Minute

// failing names the brokers whose breakers are not closed, but for those that
// nothing is sent to: nobody knows how they are.
func (b *breakers) failing() (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, br := range b.open {
		if br.probing || time.Since(br.due) < idleTime {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
