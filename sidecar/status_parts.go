package sidecar

import (
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/config"
)

// ForwarderStatus is how what was accepted gets to the broker.
type ForwarderStatus struct {
	Flow          Flow          `json:"flow"`
	AttemptsLimit int           `json:"attempts_allowed"` // at a time; fewer than configured after an outage
	Failing       int           `json:"topics_failing"`   // with messages to send, and a last attempt that failed
	Parked        []ParkedTopic `json:"topics_parked"`    // that wait for an operator
	Paused        []PausedTopic `json:"topics_paused"`    // by an operator
	BlockedKeys   int           `json:"blocked_keys"`     // ordering keys that wait for a dead letter
}

// ParkedTopic is one that the brokers refuse for itself.
type ParkedTopic struct {
	Topic  string `json:"topic"`
	Status string `json:"status"` // the broker's word
}

// PausedTopic is one that an operator has paused.
type PausedTopic struct {
	Topic string    `json:"topic"`
	Since time.Time `json:"since"`
}

// BrokersStatus is what is known of the brokers by what they answer.
type BrokersStatus struct {
	Up      bool     `json:"up"`      // false: messages wait, and the last attempts failed
	Failing []string `json:"failing"` // brokers that get one message at a time, until one is confirmed
}

// DedupeStatus is one store of dedupe marks.
type DedupeStatus struct {
	Store string       `json:"store"`           // local, redis or sql
	Up    bool         `json:"up"`              // its last call was answered
	Local *LocalDedupe `json:"local,omitempty"` // of the local one
}

// LocalDedupe is what the local store holds.
type LocalDedupe struct {
	Marks      int64 `json:"marks"`
	Bytes      int64 `json:"bytes"`
	LimitBytes int64 `json:"limit_bytes"`
	Window     int64 `json:"window_seconds"` // how long a handled message is known at least, now
}

// tellForwarding returns nil, nil while nothing is forwarded.
func (s *Sidecar) tellForwarding() (*ForwarderStatus, *BrokersStatus) {
	f := s.forwarding.Load()
	if f == nil { // else the spool is there, too
		return nil, nil
	}
	failing := f.Failing()
	out := &ForwarderStatus{Flow: s.flow.tell(), AttemptsLimit: f.Allowed(), Failing: failing, Parked: []ParkedTopic{}, Paused: pausedTopics(s.spool.Load()), BlockedKeys: s.spool.Load().BlockedKeys()}
	parked := f.Parked()
	for _, topic := range slices.Sorted(maps.Keys(parked)) {
		out.Parked = append(out.Parked, ParkedTopic{topic, parked[topic]})
	}
	return out, &BrokersStatus{Up: failing == 0, Failing: orEmpty(f.FailingBrokers())}
}

// dedupeStatus tells of the local store, and of those that a subscription shares, by
// name.
func (s *Sidecar) dedupeStatus() []DedupeStatus {
	out := []DedupeStatus{}
	if s.spool.Load() == nil { // set after the stores are
		return out
	}
	if s.parts.marks != nil {
		m := s.parts.marks.Stats()
		out = append(out, DedupeStatus{Store: config.DedupeLocal, Up: true, Local: &LocalDedupe{
			Marks: m.Marks, Bytes: m.Bytes, LimitBytes: m.LimitBytes, Window: int64(m.Window / time.Second),
		}})
	}
	for _, name := range slices.Sorted(maps.Keys(s.parts.shared)) {
		out = append(out, DedupeStatus{Store: name, Up: !s.parts.shared[name].Failing()})
	}
	return out
}
