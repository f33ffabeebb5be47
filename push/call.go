package push

import (
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

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
}

// write puts the call into req, which is empty. It keeps a reference to the
// body until req is reset.
func (c *Client) write(req *fasthttp.Request, call *Call) {
	h := &req.Header
	h.DisableNormalizing() // MQ-…, as documented, not Mq-…
	h.SetNoDefaultContentType(true)
	h.SetMethod(fasthttp.MethodPost)
	// Host and path are set apart, so that fasthttp does not rewrite the path.
	h.SetHost(c.target.Host)
	h.SetRequestURI(c.target.RequestURI())
	h.SetUserAgent(c.o.UserAgent)
	writeHeaders(h, call)
	c.sign(h, call)
	req.SetBodyRaw(call.Delivery.Body)
}

func (c *Client) sign(h *fasthttp.RequestHeader, call *Call) {
	if c.o.Signer == nil {
		return
	}
	secrets, err := c.o.Signer.current()
	if err != nil {
		c.log.Error("signing secrets cannot be read again; those from before go on signing", "error", err)
	}
	sign(h, secrets, call, time.Now())
}

func writeHeaders(h *fasthttp.RequestHeader, call *Call) {
	d := call.Delivery
	set := func(name, value string) {
		if value != "" {
			h.Set(name, headerText(value))
		}
	}
	set("MQ-Delivery-Id", call.ID)
	set("MQ-Message-Id", messageID(d))
	set("MQ-Broker-Message-Id", d.BrokerMessageID)
	set("MQ-Group", d.Group)
	set("MQ-Attempt", strconv.Itoa(call.Attempt))
	if call.MaxAttempts > 0 {
		set("MQ-Max-Attempts", strconv.Itoa(call.MaxAttempts))
	}
	if call.MaxLease > 0 {
		set("MQ-Max-Lease", call.MaxLease.String())
	}
	if call.Unchecked {
		set("MQ-Dedupe", "unchecked")
	}
	if !d.BornAt.IsZero() {
		set("MQ-Born-At", d.BornAt.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	set("Idempotency-Key", quoted(d.Identity))
	describe(&d.Message, h.Add)
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

// messageID is the producing sidecar's, else the broker's.
func messageID(d *message.Delivery) string {
	if d.ID.IsZero() {
		return d.Identity
	}
	return d.ID.String()
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
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch ch := s[i]; {
		case ch == '"' || ch == '\\':
			b.WriteByte('\\')
			b.WriteByte(ch)
		case ch < 0x20 || ch >= 0x7f:
			appendPercent(&b, ch)
		default:
			b.WriteByte(ch)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// headerText percent-encodes what no header value can carry: control
// characters, and blanks at either end. Everything else stays as it is.
func headerText(s string) string {
	return escape(s, func(i int) bool {
		ch := s[i]
		return ch < 0x20 || ch == 0x7f || ch == ' ' && (i == 0 || i == len(s)-1)
	})
}

// percent encodes all but the unreserved characters of RFC 3986.
// propertyName leaves a name as its producer wrote it: names are not decoded on the
// way in. One that no header can carry, or with an equals sign, is encoded.
func propertyName(s string) string {
	unfit := func(r rune) bool { return r < ' ' || r >= 0x7f || r == '=' }
	if s == "" || strings.Trim(s, " ") != s || strings.ContainsFunc(s, unfit) {
		return percent(s)
	}
	return s
}

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
	var b strings.Builder
	b.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if unfit(i) {
			appendPercent(&b, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func appendPercent(b *strings.Builder, ch byte) {
	const hex = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(hex[ch>>4])
	b.WriteByte(hex[ch&15])
}
