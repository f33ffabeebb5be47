package config

import "strings"

// Subscription consumes a topic as a group and hands each message to a handler.
// Zero values mean what [Subscription.WithDefaults] fills in.
type Subscription struct {
	Name              string             `yaml:"name"`
	Topic             string             `yaml:"topic"`
	Group             string             `yaml:"group"` // default: the name
	Filter            Filter             `yaml:"filter"`
	Handler           string             `yaml:"handler"`   // none: the messages are pulled
	Remote            bool               `yaml:"remote"`    // the handler may be on another host
	Readiness         string             `yaml:"readiness"` // URL that answers 2xx while the application is ready; "": it is
	Ordered           bool               `yaml:"ordered"`
	Broadcast         bool               `yaml:"broadcast"` // each sidecar gets every message
	Instance          string             `yaml:"instance"`  // names this sidecar there; default: the spool's ID
	Concurrency       int                `yaml:"concurrency"`
	Timeout           Duration           `yaml:"timeout"`
	Retry             SubscriptionRetry  `yaml:"retry"`
	Dedupe            SubscriptionDedupe `yaml:"dedupe"`
	From              string             `yaml:"from"`     // first, latest, or a time (RFC 3339)
	MaxHold           Duration           `yaml:"max_hold"` // bounds a lease, and a wait that the handler asks for
	MaxHeld           int                `yaml:"max_held"` // messages of a queue that may be leased
	AckStatuses       []int              `yaml:"ack_statuses"`
	SigningSecretFile string             `yaml:"signing_secret_file"` // one or two, one a line, as whsec_…; read again when it changes
}

// Filter chooses messages at the broker.
type Filter struct {
	Tags []string `yaml:"tags"`
	SQL  string   `yaml:"sql"`
}

// SubscriptionRetry says how often a handler is called for one message.
type SubscriptionRetry struct {
	MaxAttempts int      `yaml:"max_attempts"`
	Initial     Duration `yaml:"initial"`
	Max         Duration `yaml:"max"`
	OnExhausted string   `yaml:"on_exhausted"` // dead-letter, or (default where it is ordered) block
}

// What becomes of a message after its last attempt. An ordered subscription may
// block its ordering key instead of going on without it.
const (
	ExhaustedDeadLetter = "dead-letter"
	ExhaustedBlock      = "block"
)

// OfInstance is the subscription at a sidecar of that spool: one that broadcasts has
// a group of its own, so that the broker keeps its progress as it does any group's.
func (s Subscription) OfInstance(spool string) Subscription {
	if !s.Broadcast {
		return s
	}
	or(&s.Instance, strings.ToLower(spool))
	s.Group += instanceMark + s.Instance
	return s
}

// instanceMark parts a broadcasting group from its instance.
const instanceMark = "-at-"

// WithDefaults fills in what was left out; window is dedupe.window.
func (s Subscription) WithDefaults(window Duration) Subscription {
	or(&s.Group, s.Name)
	or(&s.Concurrency, 16)
	or(&s.Timeout, 30*Second)
	or(&s.Retry.MaxAttempts, 16)
	or(&s.Retry.Initial, Second)
	or(&s.Retry.Max, 2*Hour)
	if s.Ordered {
		or(&s.Retry.OnExhausted, ExhaustedBlock)
	}
	or(&s.Retry.OnExhausted, ExhaustedDeadLetter)
	or(&s.Dedupe.Store, DedupeLocal)
	or(&s.Dedupe.Key, DedupeMessageID)
	or(&s.Dedupe.Window, window)
	or(&s.Dedupe.OnError, DedupeHold)
	or(&s.From, "first")
	or(&s.MaxHold, 10*Minute)
	or(&s.MaxHeld, 16)
	if len(s.AckStatuses) == 0 {
		s.AckStatuses = []int{200}
	}
	return s
}

func or[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
