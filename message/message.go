package message

import (
	"cmp"
	"slices"
	"time"
)

// Message is what an application hands over. Topic and Body are required; the
// rest may be empty. Strings are valid UTF-8 without control characters,
// checked at the door by Validate.
type Message struct {
	ID         ID
	Seq        uint64    // accept sequence in its spool: contiguous, from 1; 0 before accept
	TopicSeq   uint64    // number within its spool ID and topic: contiguous, from 1; 0 before it is pending
	AcceptedAt time.Time // wall clock, millisecond precision

	TTL       time.Duration // how long it may take until it is confirmed, in milliseconds; 0: any time
	ExpiresAt time.Time     // of its spool's clock, when its TTL ends; zero: it has none, or is delayed
	Timer     Timer         // when it is due, for the broker's own timer; zero: that is not meant to have it

	Topic       string
	Tag         string   // RocketMQ tag: at most one
	Keys        []string // RocketMQ KEYS: searchable
	OrderingKey string   // messages of a topic that share it keep accept order

	ContentType     string
	ContentEncoding string // kept, never decoded
	TraceParent     string // W3C Trace Context, carried to the handler
	TraceState      string

	Properties []Property // the application's own, sorted by name, names unique
	Body       []byte
}

// Property is one user property. Name and Value are never empty: RocketMQ's
// client drops an empty value in silence (primitive/message.go, WithProperty).
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SortProperties brings properties into the order that Message asks for.
func SortProperties(p []Property) {
	slices.SortFunc(p, func(a, b Property) int { return cmp.Compare(a.Name, b.Name) })
}

// Property returns the value of a user property, "" when it has none.
func (m *Message) Property(name string) string {
	i, ok := slices.BinarySearchFunc(m.Properties, name, func(p Property, n string) int { return cmp.Compare(p.Name, n) })
	if !ok {
		return ""
	}
	return m.Properties[i].Value
}

// Size is what the message counts for against byte limits: its body and every
// text it carries.
func (m *Message) Size() int {
	n := len(m.Body) + len(m.Topic) + len(m.Tag) + len(m.OrderingKey) + m.Timer.size() +
		len(m.ContentType) + len(m.ContentEncoding) + len(m.TraceParent) + len(m.TraceState)
	for _, k := range m.Keys {
		n += len(k) + 1
	}
	for _, p := range m.Properties {
		n += len(p.Name) + len(p.Value) + 2
	}
	return n
}
