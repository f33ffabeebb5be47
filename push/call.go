package push

import (
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/message"
)

// Call is one attempt to hand a delivery to the handler.
type Call struct {
	Delivery *message.Delivery
	// ID names this call; no other call has it.
	ID          string
	Attempt     int // from 1
	MaxAttempts int // 0: endless
	// MaxLease is the longest lease that a 202 is given; 0: it is not told.
	MaxLease time.Duration
	// Unchecked says that nobody could be asked whether it was handled before.
	Unchecked bool
	// MayBeLate keeps the connection of a call whose time has come, for Answer.Late.
	MayBeLate bool
	// Timeout bounds the call; 0: its context does alone.
	Timeout time.Duration
}

func (c *Client) sign(r *request, call *Call) {
	if c.o.Signer == nil {
		return
	}
	secrets, err := c.o.Signer.secrets.Current()
	if err != nil {
		c.log.Error("signing secrets cannot be read again; those from before go on signing", "error", err)
	}
	sign(r, secrets, call, time.Now())
}

// DescribeMessage calls add with each header, and its value, that tells of a message
// itself: its content, topic, tag, keys, properties, and trace.
func DescribeMessage(m *message.Message, add func(name, value string)) {
	if !m.ID.IsZero() {
		add("MQ-Message-Id", m.ID.String())
	}
	describe(m, add)
}

// QuoteKey is an idempotency key as the header carries it.
func QuoteKey(key string) string { return headerText(quoted(key)) }

// describe is DescribeMessage without the ID, which is the broker's where we have
// given none.
func describe(m *message.Message, add func(name, value string)) {
	set := func(name, value string) {
		if value != "" {
			add(name, headerText(value))
		}
	}
	set("Content-Type", m.ContentType)
	set("Content-Encoding", m.ContentEncoding)
	if m.TopicSeq > 0 {
		set("MQ-Origin", m.ID.Spool().String())
		set("MQ-Topic-Sequence", strconv.FormatUint(m.TopicSeq, 10))
	}
	set("MQ-Topic", m.Topic)
	set("MQ-Tag", m.Tag)
	set("MQ-Key", keyList(m.Keys))
	set("MQ-Ordering-Key", m.OrderingKey)
	set("traceparent", m.TraceParent)
	set("tracestate", m.TraceState)
	for _, p := range m.Properties {
		if isEventAttribute(p.Name) {
			add(p.Name, eventText(p.Value))
		} else {
			add("MQ-Property", propertyName(p.Name)+"="+percent(p.Value))
		}
	}
}

// isPlain reports what headerText leaves as it is. Nearly all is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

// isEventAttribute reports a property that carries an attribute of a CloudEvent
// in binary mode, with a name that the HTTP binding allows (3.1.3.1): of what a
// foreign producer calls so, the rest goes as any property.
func isEventAttribute(property string) bool {
	name, ok := strings.CutPrefix(property, message.PropCloudEvent)
	return ok && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// eventText encodes the value of an attribute as the HTTP binding says
// (3.1.3.2): blanks, double quotes, percent signs, and all but printable ASCII.
func eventText(s string) string {
	return escape(s, func(i int) bool {
		ch := s[i]
		return ch <= ' ' || ch >= 0x7f || ch == '"' || ch == '%'
	})
}

// keyList joins keys with commas; a comma inside a key is percent-encoded.
func keyList(keys []string) string {
	escaped := make([]string, len(keys))
	for i, k := range keys {
		escaped[i] = strings.ReplaceAll(k, ",", "%2C")
	}
	return strings.Join(escaped, ",")
}

// quoted writes a structured-field string (RFC 9651, 3.3.3), which holds
// printable ASCII only.
func quoted(s string) string { return string(appendQuoted(nil, s)) }

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch ch := s[i]; {
		case ch == '"' || ch == '\\':
			b = append(b, '\\', ch)
		case ch < 0x20 || ch >= 0x7f:
			b = appendPercent(b, ch)
		default:
			b = append(b, ch)
		}
	}
	return append(b, '"')
}

// headerText percent-encodes what no header value can carry: control
// characters, and blanks at either end. Everything else stays as it is.
func headerText(s string) string {
	if isPlain(s) {
		return s
	}
	return escape(s, func(i int) bool {
		ch := s[i]
		return ch < 0x20 || ch == 0x7f || ch == ' ' && (i == 0 || i == len(s)-1)
	})
}

// propertyName leaves a name as its producer wrote it: names are not decoded on the
// way in. One that no header can carry, or with an equals sign, is encoded.
func propertyName(s string) string {
	unfit := func(r rune) bool { return r < ' ' || r >= 0x7f || r == '=' }
	if s == "" || strings.Trim(s, " ") != s || strings.ContainsFunc(s, unfit) {
		return percent(s)
	}
	return s
}

// percent encodes all but the unreserved characters of RFC 3986.
func percent(s string) string {
	return escape(s, func(i int) bool {
		ch := s[i]
		letter := ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9'
		return !letter && !strings.ContainsRune("-._~", rune(ch))
	})
}

func escape(s string, unfit func(i int) bool) string {
	first := 0
	for first < len(s) && !unfit(first) {
		first++
	}
	if first == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+2*len(s[first:])), s[:first]...)
	for i := first; i < len(s); i++ {
		if unfit(i) {
			b = appendPercent(b, s[i])
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func appendPercent(b []byte, ch byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(b, '%', hex[ch>>4], hex[ch&15])
}
