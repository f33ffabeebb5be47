package message

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of RocketMQ, kept at the door so that nothing accepted is refused
// later: body and properties as its broker checks them (MessageStoreConfig
// maxMessageSize 4 MiB, properties length a signed 16-bit number).
const (
	MaxBody       = 4032 << 10 // bytes: the broker's 4 MiB less room for properties
	MaxProperties = 32767 - 1024
	MaxTopic      = 127
	MaxShort      = 255 // bytes of a tag, a key, an ordering key, a property name
)

// MaxTTL bounds a TTL; a longer one is damage, or a slip of units.
const MaxTTL = 100 * 365 * 24 * time.Hour

// Invalid says what is wrong with a message and what to change. Code is one of
// the problem codes of the HTTP contract.
//
//nolint:errname // reads as a finding: e.Code, e.Detail
type Invalid struct {
	Code   string
	Detail string
	Limit  int64 // bytes or characters, 0 when no limit was passed
}

func (e *Invalid) Error() string { return e.Detail }

func invalid(code, format string, args ...any) *Invalid {
	return &Invalid{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Validate checks everything an application can get wrong. maxBody is in
// bytes; 0 means MaxBody. The error is an *Invalid.
func (m *Message) Validate(maxBody int) error {
	if maxBody <= 0 || maxBody > MaxBody {
		maxBody = MaxBody
	}
	checks := []*Invalid{
		ValidTopic(m.Topic), validBody(m.Body, maxBody), validTag(m.Tag), validKeys(m.Keys),
		validShort("invalid-ordering-key", "the ordering key", m.OrderingKey),
		validLine("invalid-content-type", "the content type", m.ContentType),
		validLine("invalid-content-encoding", "the content encoding", m.ContentEncoding),
		validLine("invalid-trace-context", "traceparent", m.TraceParent),
		validLine("invalid-trace-context", "tracestate", m.TraceState),
		validProperties(m.Properties), m.validWireSize(),
	}
	for _, e := range checks {
		if e != nil {
			return e
		}
	}
	return nil
}

// ValidTopic returns nil when an application may publish to the topic.
func ValidTopic(topic string) *Invalid {
	switch {
	case topic == "":
		return invalid("invalid-topic", "the topic is empty")
	case len(topic) > MaxTopic:
		e := invalid("invalid-topic", "the topic has %d characters; at most %d are allowed", len(topic), MaxTopic)
		e.Limit = MaxTopic
		return e
	case strings.IndexFunc(topic, notTopic) >= 0:
		return invalid("invalid-topic", "the topic %q has a character other than letters, digits, '_' and '-'", topic)
	case systemTopic(topic):
		return invalid("invalid-topic", "the topic %q belongs to the broker; choose another name", topic)
	}
	return nil
}

// notTopic leaves out '%' and '|', which RocketMQ allows: they mark its own
// retry, dead-letter and namespaced topics.
func notTopic(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
}

// systemTopic names what RocketMQ keeps for itself (Java TopicValidator).
func systemTopic(topic string) bool {
	switch topic {
	case "TBW102", "SCHEDULE_TOPIC_XXXX", "BenchmarkTest", "OFFSET_MOVED_EVENT", "SELF_TEST_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC":
		return true
	}
	const prefix = "rmq_sys_"
	return len(topic) >= len(prefix) && strings.EqualFold(topic[:len(prefix)], prefix)
}

func validBody(body []byte, limit int) *Invalid {
	switch {
	case len(body) == 0:
		return invalid("empty-body", "the body is empty; RocketMQ cannot store an empty message, send at least one byte")
	case len(body) > limit:
		e := invalid("message-too-large", "the body has %d bytes; at most %d are allowed", len(body), limit)
		e.Limit = int64(limit)
		return e
	}
	return nil
}

func validTag(tag string) *Invalid {
	if strings.Contains(tag, "|") || strings.ContainsAny(tag, " \t") || tag == "*" {
		return invalid("invalid-tag", "the tag %q has a blank or '|', or is '*': a message has one tag, and consumers join tags with '||'", tag)
	}
	return validShort("invalid-tag", "the tag", tag)
}

func validKeys(keys []string) *Invalid {
	for _, k := range keys {
		if k == "" || strings.ContainsAny(k, " \t") {
			return invalid("invalid-key", "the key %q is empty or has a blank: RocketMQ separates keys with blanks", k)
		}
		if e := validShort("invalid-key", "the key", k); e != nil {
			return e
		}
	}
	return nil
}

func validProperties(props []Property) *Invalid {
	for i, p := range props {
		switch {
		case p.Name == "":
			return invalid("invalid-property", "a property has no name")
		case p.Value == "":
			return invalid("invalid-property", "the property %q is empty; brokers drop an empty value, leave the property out", p.Name)
		case strings.ContainsAny(p.Name, " =") || strings.TrimSpace(p.Name) != p.Name:
			return invalid("invalid-property", "the property name %q has a blank or '='", p.Name)
		case Reserved(p.Name):
			return invalid("reserved-property", "the property name %q is reserved; choose another, or use the header made for it", p.Name)
		case i > 0 && props[i-1].Name == p.Name:
			return invalid("invalid-property", "the property %q is given twice", p.Name)
		}
		if e := validShort("invalid-property", "the property name", p.Name); e != nil {
			return e
		}
		if e := validText("invalid-property", fmt.Sprintf("the property %q", p.Name), p.Value); e != nil {
			return e
		}
	}
	return nil
}

func validShort(code, what, s string) *Invalid {
	if len(s) > MaxShort {
		e := invalid(code, "%s has %d bytes; at most %d are allowed", what, len(s), MaxShort)
		e.Limit = MaxShort
		return e
	}
	return validLine(code, what, s)
}

// validLine refuses what could not stand in a header of a delivery: validText,
// and line breaks and tabs.
func validLine(code, what, s string) *Invalid {
	if printable(s) { // nearly always
		return nil
	}
	if i := strings.IndexAny(s, "\t\n\r"); i >= 0 {
		return invalid(code, "%s has the control character 0x%02x; leave it out", what, s[i])
	}
	return validText(code, what, s)
}

// printable reports a text of printable ASCII alone.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// validText refuses what RocketMQ's property encoding would alter in silence:
// the separators 0x01 and 0x02, other control characters, bad UTF-8.
func validText(code, what, s string) *Invalid {
	if !utf8.ValidString(s) {
		return invalid(code, "%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return invalid(code, "%s has the control character 0x%02x; leave it out", what, r)
		}
	}
	return nil
}

// validWireSize bounds the encoded properties, each with its two separators;
// 1 KiB is left for those that broker and client add.
func (m *Message) validWireSize() *Invalid {
	n := m.Size() - len(m.Body) - len(m.Topic)
	if n <= MaxProperties {
		return nil
	}
	e := invalid("properties-too-large", "properties, keys and tag have %d bytes together; at most %d are allowed", n, MaxProperties)
	e.Limit = MaxProperties
	return e
}
