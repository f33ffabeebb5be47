package push

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/reread"
	"github.com/remora-mq/remora/message"
)

// received is what a handler saw of one call.
type received struct {
	*http.Request
	body []byte
}

func send(t *testing.T, call *Call, path string) received {
	t.Helper()
	return sendWith(t, call, path, Options{})
}

func sendWith(t *testing.T, call *Call, path string, o Options) received {
	t.Helper()
	seen := make(chan received, 1)
	h := serve(t, func(c *net.TCPConn, req *http.Request) bool {
		body, _ := io.ReadAll(req.Body)
		seen <- received{req, body}
		return text(ok)(c, req)
	})
	o.URL = strings.TrimSuffix(h.url(), "/on-order") + path
	c := newClient(t, o)
	wantDone(t, c.Deliver(within(t, time.Minute), call))
	return <-seen
}

func TestCallCarriesTheMessage(t *testing.T) {
	id := message.NewID(message.SpoolID{1, 2, 3, 4, 5}, 6, 7, time.Now())
	d := &message.Delivery{
		Message: message.Message{
			ID: id, TopicSeq: 42, Topic: "orders", Tag: "created", Keys: []string{"o-1", "a,b"}, OrderingKey: "customer 7",
			ContentType: "application/json", ContentEncoding: "gzip",
			TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceState: "a=b",
			Properties: []message.Property{{Name: "Amount", Value: "12,5 €"}, {Name: "x", Value: "a=b\r\nc"}, {Name: "A.b:c%d", Value: "1"}, {Name: "y=z", Value: "2"}},
			Body:       []byte("{}"),
		},
		Group: "billing", Identity: id.String(), BrokerMessageID: "7F000001", Attempt: 2,
		BornAt: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600)),
	}
	got := send(t, &Call{Delivery: d, ID: "call-9", Attempt: 3, MaxAttempts: 16, MaxLease: 10 * time.Minute}, "/a%2Fb/../c?x=%20y")
	want := map[string]string{
		"Content-Type": "application/json", "Content-Encoding": "gzip", "Content-Length": "2",
		"Mq-Delivery-Id": "call-9", "Mq-Message-Id": id.String(), "Mq-Broker-Message-Id": "7F000001",
		"Mq-Origin": "0102030405", "Mq-Topic-Sequence": "42",
		"Mq-Topic": "orders", "Mq-Group": "billing", "Mq-Tag": "created", "Mq-Key": "o-1,a%2Cb",
		"Mq-Ordering-Key": "customer 7", "Mq-Attempt": "3", "Mq-Max-Attempts": "16", "Mq-Max-Lease": "10m0s",
		"Mq-Born-At": "2026-01-02T02:04:05.678Z", "Idempotency-Key": `"` + id.String() + `"`,
		"Traceparent": d.TraceParent, "Tracestate": "a=b", "User-Agent": "remora",
	}
	for name, value := range want {
		if got := got.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if props := got.Header.Values("MQ-Property"); !slices.Equal(props, []string{"Amount=12%2C5%20%E2%82%AC", "x=a%3Db%0D%0Ac", "A.b:c%d=1", "y%3Dz=2"}) {
		t.Errorf("MQ-Property: %q", props)
	}
	if len(got.Header) != len(want)+1 {
		t.Errorf("other headers than the contract's: %v", got.Header)
	}
	if got.Method != http.MethodPost || got.RequestURI != "/a%2Fb/../c?x=%20y" {
		t.Errorf("called %s %s", got.Method, got.RequestURI)
	}
}

func TestCallSaysThatItIsUnchecked(t *testing.T) {
	got := send(t, &Call{Delivery: &message.Delivery{Identity: "x"}, ID: "c", Attempt: 1, Unchecked: true}, "")
	if got := got.Header.Get("MQ-Dedupe"); got != "unchecked" {
		t.Errorf("MQ-Dedupe: %q", got)
	}
}

// The attributes come out as the headers that httpapi reads: percent-decoded
// they are the properties again.
func TestCloudEventComesOutAsItWentIn(t *testing.T) {
	d := &message.Delivery{Identity: "x"}
	d.Topic, d.Body, d.ContentType = "orders", []byte("{}"), "application/json"
	event := []message.Property{
		{Name: "id", Value: "1"}, {Name: "source", Value: "/a%20b"}, {Name: "specversion", Value: "1.0"},
		{Name: "subject", Value: "Jürgen \"x\"\r\n"}, {Name: "type", Value: "created"},
	}
	if err := d.SetCloudEvent(event[:3]); err != nil {
		t.Fatal(err)
	}
	for _, a := range event[3:] {
		d.Properties = append(d.Properties, message.Property{Name: "ce-" + a.Name, Value: a.Value})
	}
	d.Properties = append(d.Properties, message.Property{Name: "ce-Not one", Value: "1"}, message.Property{Name: "own", Value: "2"})
	got := send(t, &Call{Delivery: d, ID: "c", Attempt: 1}, "")
	for _, a := range event {
		raw := got.Header.Get("ce-" + a.Name)
		if value, err := url.PathUnescape(raw); err != nil || value != a.Value {
			t.Errorf("ce-%s: %q, which reads %q, want %q", a.Name, raw, value, a.Value)
		}
	}
	if raw := got.Header.Get("ce-subject"); raw != "J%C3%BCrgen%20%22x%22%0D%0A" {
		t.Errorf("ce-subject: %q", raw)
	}
	if props := got.Header.Values("MQ-Property"); !slices.Equal(props, []string{"ce-Not one=1", "own=2"}) {
		t.Errorf("MQ-Property: %q", props)
	}
}

func TestCallOfABareForeignMessage(t *testing.T) {
	d := &message.Delivery{Identity: "7F00000100002A9F00000000000A1B2C"}
	d.Topic, d.Body = "orders", []byte("x")
	got := send(t, &Call{Delivery: d, ID: "c", Attempt: 1}, "")
	if got.Header.Get("MQ-Message-Id") != d.Identity {
		t.Errorf("MQ-Message-Id: %q, want the broker's", got.Header.Get("MQ-Message-Id"))
	}
	for _, name := range []string{"Content-Type", "MQ-Tag", "MQ-Key", "MQ-Born-At", "MQ-Max-Attempts", "MQ-Max-Lease", "MQ-Origin", "MQ-Topic-Sequence", "traceparent"} {
		if v, there := got.Header[http.CanonicalHeaderKey(name)]; there {
			t.Errorf("%s: %q was made up", name, v)
		}
	}
	if got.RequestURI != "/" {
		t.Errorf("called %s", got.RequestURI)
	}
}

func TestBodyByteForByte(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, body := range [][]byte{{0}, all, []byte("\r\n0\r\n\r\n"), bytes.Repeat(all, 4032<<10/256)} {
		if got := send(t, aCall(string(body)), "/"); !bytes.Equal(got.body, body) {
			t.Errorf("a body of %d bytes came as %d bytes", len(body), len(got.body))
		}
	}
}

// FuzzHeaders: whatever a message holds, the handler sees one request with the
// contract's headers only, and gets the property back.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"", "a", "a\r\nX-Admin: 1", "\r\n\r\nPOST / HTTP/1.1\r\n", "\x00", "\n", " a ", "\t", "€", "\xff\xfe", "a%20b", "ce-id", "ce-\r\nx", `"\`, "a,b"} {
		f.Add(s, s)
	}
	secrets := [][]byte{[]byte("secret")}
	same := func(known [][]byte) ([][]byte, error) { return known, nil }
	signer := &Signer{secrets: reread.New(secrets, same, time.Now)}
	c := &Client{head: head("127.0.0.1", "/", "remora"), o: Options{Signer: signer}.withDefaults()}
	f.Fuzz(func(t *testing.T, s, name string) {
		d := &message.Delivery{Group: s, Identity: s, BrokerMessageID: s}
		d.Topic, d.Tag, d.Keys, d.OrderingKey = s, s, []string{s, s}, s
		d.ContentType, d.ContentEncoding, d.TraceParent, d.TraceState = s, s, s, s
		d.Properties, d.Body = []message.Property{{Name: name, Value: s}}, []byte("body")
		checkHostile(t, c, &Call{Delivery: d, ID: s, Attempt: 1}, name, s)
	})
}

func checkHostile(t *testing.T, c *Client, call *Call, name, value string) {
	t.Helper()
	req := c.newRequest(call)
	defer req.free()
	wire := string(req.b)
	head, body, _ := strings.Cut(wire, "\r\n\r\n")
	if body != "body" {
		t.Fatalf("the header ends early: %q", wire)
	}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		field, text, found := strings.Cut(line, ": ")
		if !found || !known[field] && field != name || strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("line %q in the header", line)
		}
		if field == "MQ-Property" {
			wantProperty(t, text, name, value)
		} else if field == name && isEventAttribute(name) {
			wantAttribute(t, text, value)
		}
	}
}

func wantAttribute(t *testing.T, text, value string) {
	t.Helper()
	if got, err := url.PathUnescape(text); err != nil || got != value {
		t.Fatalf("attribute %q came as %q", value, text)
	}
}

func wantProperty(t *testing.T, text, name, value string) {
	t.Helper()
	n, v, _ := strings.Cut(text, "=")
	gotName, err1 := n, error(nil)
	if n != name { // it has what no header can carry
		gotName, err1 = url.PathUnescape(n)
	}
	gotValue, err2 := url.PathUnescape(v)
	if err1 != nil || err2 != nil || gotName != name || gotValue != value {
		t.Fatalf("property %q=%q came as %q", name, value, text)
	}
}

var known = map[string]bool{}

func init() {
	for _, name := range []string{
		"User-Agent", "Host", "Content-Type", "Content-Length", "Content-Encoding", "MQ-Delivery-Id", "MQ-Message-Id",
		"MQ-Broker-Message-Id", "MQ-Topic", "MQ-Group", "MQ-Tag", "MQ-Key", "MQ-Ordering-Key", "MQ-Attempt",
		"Idempotency-Key", "traceparent", "tracestate", "MQ-Property",
		"webhook-id", "webhook-timestamp", "webhook-signature",
	} {
		known[name] = true
	}
}
