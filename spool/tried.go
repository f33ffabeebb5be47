package spool

import (
	"time"

	"github.com/remora-mq/remora/message"
)

// tried is what is known of the attempts at sending a message that is held. It is in
// memory alone, and goes where the message goes: into its hold and out of it, and into
// the receipt that it leaves.
type tried struct {
	attempts  int
	maybeSent bool // one ended unknown
	unsure    int  // that did
	lastError string
	history   message.History
}

// failed notes that an attempt was not confirmed.
func (t *tried) failed(at time.Time, outcome message.Outcome, cause string) {
	t.attempts++
	if outcome == message.OutcomeUnknown {
		t.maybeSent = true
		t.unsure++
	}
	t.lastError = cause
	t.history.Add(message.Event{At: at, Name: "attempt", Outcome: outcome, Detail: cause})
}

// none reports whether there is nothing to know.
func (t *tried) none() bool {
	return t.attempts == 0 && !t.maybeSent && t.lastError == "" && len(t.history.First) == 0 && len(t.history.Last) == 0
}

// tell adds it to the receipt of the message.
func (t *tried) tell(r *message.Receipt) {
	r.Attempts, r.LastError, r.MaybeSent = t.attempts, t.lastError, t.maybeSent
	for _, e := range t.history.First {
		r.History.Add(e)
	}
	for _, e := range t.history.Last {
		r.History.Add(e)
	}
	r.History.Skipped += t.history.Skipped
}

// mayHaveBeenSent reports whether the broker may have e: an attempt ended unknown, or a
// former process may have made one.
func (e *entry) mayHaveBeenSent() bool {
	return e.maybeSent || e.msg.Seq <= e.lane.attemptedAtOpen
}
