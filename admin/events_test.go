package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// reading is who reads events.
type reading struct {
	t      *testing.T
	status int
	header http.Header
	lines  *bufio.Reader
	leave  context.CancelFunc
}

// readEvents begins to read; from is the ID of the last event that was seen.
func readEvents(t *testing.T, addr, from string) *reading {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if from != "" {
		req.Header.Set("Last-Event-ID", from)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	r := &reading{t, res.StatusCode, res.Header, bufio.NewReader(res.Body), leave}
	if res.StatusCode == http.StatusOK {
		if got := r.block(); got != ": the events of a sidecar\n" || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("X-Accel-Buffering") != "no" {
			t.Fatalf("it begins with %q, %v", got, res.Header)
		}
	}
	return r
}

// block reads up to an empty line.
func (r *reading) block() string {
	r.t.Helper()
	var text strings.Builder
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			r.t.Fatalf("the answer ends with %q: %v", text.String()+line, err)
		}
		if line == "\n" {
			return text.String()
		}
		text.WriteString(line)
	}
}

// next reads an event, and passes by what only says that the other is there, or where.
func (r *reading) next() (id, name, data string) {
	r.t.Helper()
	text := r.block()
	for text == ":\n" || strings.HasPrefix(text, "id: ") && strings.Count(text, "\n") == 1 {
		text = r.block()
	}
	for line := range strings.Lines(text) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		*map[string]*string{"id": &id, "event": &name, "data": &data}[field] = value
	}
	return id, name, data
}

func (r *reading) wants(name string, parts ...string) (id string) {
	r.t.Helper()
	id, got, data := r.next()
	for _, part := range parts {
		if !strings.Contains(data, part) {
			r.t.Errorf("%s lacks %s", data, part)
		}
	}
	if got != name {
		r.t.Errorf("event %s %s, want %s", got, data, name)
	}
	return id
}

func TestEventsTellWhatChanges(t *testing.T) {
	c := NewConditions()
	addr := serve(t, New(Options{}, Sources{Conditions: c, Left: leftForEver}))
	r := readEvents(t, addr, "")
	c.Set(Broker, true)
	c.Set(Broker, true) // no change
	c.Set(Broker, false)
	first := r.wants("condition", `"name":"broker"`, `"is":true`, `{"at":"20`)
	r.wants("condition", `"name":"broker"`, `"is":false`)
	op := drainOf(t, post(t, addr, "/v1/drain", ""))
	r.wants("operation", `"kind":"drain"`, `"state":"running"`, op.ID)
	post(t, addr, "/v1/operations/"+op.ID+"/stop", "")
	last := r.wants("operation", `"state":"stopped"`, op.ID)

	again := readEvents(t, addr, first)
	again.wants("condition", `"is":false`)
	again.wants("operation", `"running"`)
	if id := again.wants("operation", `"stopped"`); id != last {
		t.Errorf("the same event is %s, and was %s", id, last)
	}
	elsewhere := readEvents(t, addr, "OTHER-3")
	elsewhere.wants("lost", "{}")
	c.Set(SpoolFull, true)
	elsewhere.wants("condition", `"spool-full"`)
}

// Who comes back before it has had an event misses none that was meanwhile.
func TestReaderWithoutEventsComesBack(t *testing.T) {
	c := NewConditions()
	addr := serve(t, New(Options{}, Sources{Conditions: c}))
	for range 2 {
		r := readEvents(t, addr, "")
		id, only := strings.CutPrefix(strings.TrimSuffix(r.block(), "\n"), "id: ")
		if !only {
			t.Fatalf("its place is %q", id)
		}
		r.leave()
		c.Set(Broker, true)
		c.Set(Broker, false)
		again := readEvents(t, addr, id)
		again.wants("condition", `"is":true`)
		again.wants("condition", `"is":false`)
	}
}

// However few connections there are, others than readers of events get one.
func TestReadersLeaveConnectionsToOthers(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 64: 1, 256: 4, 1024: mostReaders, 1 << 20: mostReaders} {
		if n := readersOf(mostConns(files)); n != want {
			t.Errorf("with %d files %d may read events, want %d", files, n, want)
		}
	}
}

// Who is too slow, or was away for too long, is told how many events it has lost.
func TestLostEventsAreTold(t *testing.T) {
	c := NewConditions()
	addr := serve(t, New(Options{}, Sources{Conditions: c}))
	first := readEvents(t, addr, "")
	c.Set(Broker, true)
	run, _, _ := strings.Cut(first.wants("condition", `"broker"`), "-")
	first.leave()
	for i := 1; i < keptEvents+10; i++ {
		c.Set(Broker, i%2 == 0)
	}
	r := readEvents(t, addr, run+"-4")
	r.wants("lost", `{"events":6}`)
	for i := 10; i < keptEvents+10; i++ {
		if id := r.wants("condition", fmt.Sprintf(`"is":%t`, i%2 == 0)); id != fmt.Sprint(run, "-", i+1) {
			t.Fatalf("event %d has the ID %s", i, id)
		}
	}
}

// There may be so many readers; one that leaves makes room for another.
func TestReadersOfEventsAreBounded(t *testing.T) {
	c := NewConditions()
	addr := serve(t, New(Options{}, Sources{Conditions: c}))
	all := make([]*reading, mostReaders)
	for i := range all {
		all[i] = readEvents(t, addr, "")
	}
	if r := readEvents(t, addr, ""); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", r.status, r.header)
	}
	all[0].leave()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if r := readEvents(t, addr, ""); r.status == http.StatusOK {
			c.Set(Broker, true)
			r.wants("condition", `"broker"`)
			return
		} else if time.Now().After(until) {
			t.Fatal("there is no room for another")
		}
	}
}

// Reading goes on for longer than a request may take to arrive, and ends with the
// listener.
func TestEventsEndWithTheListener(t *testing.T) {
	c := NewConditions()
	side := New(Options{}, Sources{Conditions: c})
	side.http.ReadTimeout, side.http.ReadHeaderTimeout = 3*time.Second, 3*time.Second
	addr := serve(t, side)
	r := readEvents(t, addr, "")
	untilCutOff(t, addr) // the time is over
	c.Set(Stopping, true)
	r.wants("condition", `"stopping"`)
	if err := side.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(r.lines); err != nil || len(rest) > 0 {
		t.Errorf("it ends with %q, %v", rest, err)
	}
}

// untilCutOff returns when a request that does not arrive, and begins now, had its time.
func untilCutOff(t *testing.T, addr string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/events HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatalf("it is not cut off: %v", err)
	}
}

// An answer to HEAD has no events that it could wait for: the next request on its
// connection is answered, and no reader is counted for it.
func TestHeadOfEventsEnds(t *testing.T) {
	addr := serve(t, New(Options{}, Sources{Conditions: NewConditions(), Status: func() any { return 1 }}))
	for range mostReaders + 1 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(c)
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			path := map[string]string{http.MethodHead: "/v1/events", http.MethodGet: "/v1/status"}[method]
			if _, err := c.Write([]byte(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(lines, &http.Request{Method: method})
			if err != nil {
				t.Fatal(method, err)
			}
			if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(method, res.Status, err)
			}
		}
	}
}
