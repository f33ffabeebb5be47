package push

import (
	"strconv"
	"sync"
	"time"

	"github.com/remora-mq/remora/message"
)

// request is a call as it goes over the wire, in one piece: but for a body that is
// not copied.
type request struct {
	b    []byte // request line, headers and, up to bufferSize, the body
	rest []byte // the body, where it is longer
}

var requests sync.Pool // of *request

// newRequest is to be freed.
func (c *Client) newRequest(call *Call) *request {
	r, ok := requests.Get().(*request)
	if !ok {
		r = new(request)
	}
	r.b, r.rest = append(r.b[:0], c.head...), nil
	r.describe(call)
	c.sign(r, call)
	body := call.Delivery.Body
	r.b = append(r.b, "Content-Length: "...)
	r.b = strconv.AppendInt(r.b, int64(len(body)), 10)
	r.b = append(r.b, "\r\n\r\n"...)
	if len(body) > bufferSize {
		r.rest = body
	} else {
		r.b = append(r.b, body...)
	}
	return r
}

// free gives the memory to another call, unless it is a lot.
func (r *request) free() {
	if r.rest = nil; cap(r.b) <= 4*bufferSize {
		requests.Put(r)
	}
}

// head is what begins all calls of one handler.
func head(host, uri, userAgent string) []byte {
	r := request{b: []byte("POST " + uri + " HTTP/1.1\r\n")}
	r.add("Host", host)
	r.add("User-Agent", headerText(userAgent))
	return r.b
}

// add appends a header whose value is fit for one.
func (r *request) add(name, value string) {
	r.begin(name)
	r.b = append(r.b, value...)
	r.end()
}

func (r *request) begin(name string) { r.b = append(append(r.b, name...), ": "...) }

func (r *request) end() { r.b = append(r.b, "\r\n"...) }

// set appends a header, unless it is empty.
func (r *request) set(name, value string) {
	if value != "" {
		r.add(name, headerText(value))
	}
}

func (r *request) number(name string, n int) {
	r.begin(name)
	r.b = strconv.AppendInt(r.b, int64(n), 10)
	r.end()
}

func (r *request) describe(call *Call) {
	d := call.Delivery
	r.set("MQ-Delivery-Id", call.ID)
	r.messageID(d)
	r.set("MQ-Broker-Message-Id", d.BrokerMessageID)
	r.set("MQ-Group", d.Group)
	r.number("MQ-Attempt", call.Attempt)
	if call.MaxAttempts > 0 {
		r.number("MQ-Max-Attempts", call.MaxAttempts)
	}
	if call.MaxLease > 0 {
		r.add("MQ-Max-Lease", call.MaxLease.String())
	}
	if call.Unchecked {
		r.add("MQ-Dedupe", "unchecked")
	}
	if !d.BornAt.IsZero() {
		r.begin("MQ-Born-At")
		r.b = appendTime(r.b, d.BornAt)
		r.end()
	}
	r.begin("Idempotency-Key")
	r.b = appendQuoted(r.b, d.Identity)
	r.end()
	describe(&d.Message, r.add)
}

// messageID is the producing sidecar's, else the broker's.
func (r *request) messageID(d *message.Delivery) {
	if d.ID.IsZero() {
		r.set("MQ-Message-Id", d.Identity)
		return
	}
	r.begin("MQ-Message-Id")
	r.b = d.ID.Append(r.b)
	r.end()
}

// appendTime is RFC 3339 with milliseconds, in UTC. Of AppendFormat only the form
// without a fraction is fast.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	b = t.AppendFormat(b, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b[:len(b)-len("Z")], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}
