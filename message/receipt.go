package message

import "time"

// Receipt tells what is known of a message: of a held one where it stands, of
// a settled one how it ended.
type Receipt struct {
	ID         ID
	Topic      string
	TopicSeq   uint64 // its number in the topic, under the spool ID in its ID; 0: it has none, or it is not known any more
	State      State
	OnHold     bool // an operator keeps it from being forwarded
	Duplicate  bool // this call found it accepted before, under its dedupe key
	AcceptedAt time.Time
	DeliverAt  time.Time // when a delayed message will be pending, or one is due that the broker confirmed for its timer; else zero
	SettledAt  time.Time // zero while held

	Confirmation *Confirmation // set only in StateConfirmed

	Attempts      int       // since the process started, for a held message
	LastError     string    // of the last attempt that failed
	NextAttemptAt time.Time // zero unless StateRetrying
	MaybeSent     bool      // an attempt may have reached the broker
	History       History
}

// Confirmation is the broker's SEND_OK: proof that it holds the message, and where.
// Of a half message it is the answer to its commit (HalfPlace.Confirmation).
type Confirmation struct {
	MessageID       string `json:"message_id"`        // as the broker's client names it
	OffsetMessageID string `json:"offset_message_id"` // address in the broker's log; never empty
	Queue           string `json:"queue"`             // broker/queue, as "broker-a/3"
	Offset          int64  `json:"offset"`            // in the queue; OffsetUntold: see there
}

// Event is one line of a message's history.
type Event struct {
	At      time.Time
	Name    string // accepted, attempt, confirmed, dead, cancelled, …
	Outcome Outcome
	Detail  string
}

// historyEnds is how many events are kept at each end of a History.
const historyEnds = 8

// History keeps the first and the last eight events and counts the others, so
// that a message retried for a week costs no more than one retried twice.
type History struct {
	First, Last []Event
	Skipped     int // events between First and Last that are not kept
}

// Add appends an event.
func (h *History) Add(e Event) {
	if len(h.First) < historyEnds && len(h.Last) == 0 {
		h.First = append(h.First, e)
		return
	}
	if len(h.Last) == historyEnds {
		h.Last = append(h.Last[:0:0], h.Last[1:]...)
		h.Skipped++
	}
	h.Last = append(h.Last, e)
}

// Events returns the kept events in order of time.
func (h *History) Events() []Event {
	return append(append(make([]Event, 0, len(h.First)+len(h.Last)), h.First...), h.Last...)
}
