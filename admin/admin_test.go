package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a listener and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if own := New(Options{}, Sources{}).http; s.http.ReadHeaderTimeout == own.ReadHeaderTimeout && s.http.ReadTimeout == own.ReadTimeout {
		s.http.ReadHeaderTimeout, s.http.ReadTimeout = time.Minute, time.Minute // a process may get no time for a while
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// get sends a request; header is name, value, name, value.
func get(t *testing.T, method, addr, path string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(body)}
}

func TestProbes(t *testing.T) {
	now := time.Now()
	c := newConditions(func() time.Time { return now })
	addr := serve(t, NewHealth(c, prometheus.NewRegistry(), nil))
	steps := []struct {
		name                string
		change              func()
		live, ready, launch int
	}{
		{"starting", func() {}, 200, 503, 503},
		{"started", func() { c.Set(Starting, false) }, 200, 200, 200},
		{"broker down", func() { c.Set(Broker, true) }, 200, 200, 200},
		{"handler down, spool full, disk low", func() { c.Set(Handler, true); c.Set(SpoolFull, true); c.Set(DiskLow, true) }, 200, 200, 200},
		{"read-only just now", func() { c.Set(ReadOnly, true) }, 200, 200, 200},
		{"read-only for 9.9 s, and said again", func() { now = now.Add(9900 * time.Millisecond); c.Set(ReadOnly, true) }, 200, 200, 200},
		{"read-only for 10 s", func() { now = now.Add(100 * time.Millisecond) }, 200, 503, 200},
		{"no longer read-only", func() { c.Set(ReadOnly, false) }, 200, 200, 200},
		{"a sync has stalled", func() { c.Set(SyncStalled, true) }, 200, 503, 200},
		{"it has ended", func() { c.Set(SyncStalled, false) }, 200, 200, 200},
		{"stopping", func() { c.Set(Stopping, true) }, 200, 503, 200},
	}
	for _, s := range steps {
		s.change()
		for path, want := range map[string]int{"/livez": s.live, "/readyz": s.ready, "/startupz": s.launch} {
			res := get(t, "GET", addr, path, "Host", "10.1.2.3:7602")
			if res.status != want {
				t.Errorf("%s: %s is %d %q, want %d", s.name, path, res.status, res.body, want)
			}
		}
	}
}

func TestProbeNamesTheReason(t *testing.T) {
	c := NewConditions()
	c.Set(Broker, true)
	c.Set("dedupe-store", true)
	addr := serve(t, NewHealth(c, prometheus.NewRegistry(), nil))
	if res := get(t, "GET", addr, "/readyz"); res.body != "not ok: [starting]\n" {
		t.Errorf("says %q", res.body)
	}
	res := get(t, "GET", addr, "/readyz?verbose")
	var v struct {
		OK         bool `json:"ok"`
		Conditions []struct {
			Name        string    `json:"name"`
			Is          bool      `json:"is"`
			Since       time.Time `json:"since"`
			StopsAccept bool      `json:"stops_accept"`
			Means, Do   string
		} `json:"conditions"`
	}
	if err := json.Unmarshal([]byte(res.body), &v); err != nil || res.status != 503 || v.OK {
		t.Fatalf("%d %s (%v)", res.status, res.body, err)
	}
	var are []string
	for _, cond := range v.Conditions {
		if cond.Is {
			are = append(are, fmt.Sprint(cond.Name, cond.StopsAccept))
			if time.Since(cond.Since) > time.Minute || cond.Means == "" || cond.Do == "" {
				t.Errorf("%s since %s, means %q, do %q", cond.Name, cond.Since, cond.Means, cond.Do)
			}
		}
	}
	if got := fmt.Sprint(are); got != "[startingtrue brokerfalse dedupe-storefalse]" || len(v.Conditions) != len(known) {
		t.Errorf("conditions: %s", res.body)
	}
	if got := fmt.Sprint(c.Degraded()); got != "[broker dedupe-store]" {
		t.Errorf("degraded: %s", got)
	}
}

// What a condition is the case for is told with it, as long as that is so.
func TestConditionsAreExplained(t *testing.T) {
	c := NewConditions()
	c.Set(Starting, false)
	c.Explain(SendBackRefused, []string{"billing: 3 are held", "audit: 1 is held"})
	c.Explain(Handler, nil)
	if now := c.Active(); len(now) != 1 || now[0].Name != SendBackRefused || now[0].Detail != "billing: 3 are held; audit: 1 is held" {
		t.Errorf("current: %+v", now)
	}
	c.Explain(SendBackRefused, nil)
	c.Set(SendBackRefused, true)
	if now := c.Active(); len(now) != 1 || now[0].Detail != "" {
		t.Errorf("without details: %+v", now)
	}
}

// Whoever is woken by a condition is told what it is and what to do.
func TestEachConditionHasAdvice(t *testing.T) {
	for _, name := range known {
		if a := advices[name]; a.means == "" || a.do == "" {
			t.Errorf("%s: means %q, do %q", name, a.means, a.do)
		}
	}
	c := NewConditions()
	c.Set(DiskLow, true)
	if now := c.Active(); len(now) != 2 || now[0].Name != Starting || now[1].Name != DiskLow || now[1].Since == nil {
		t.Errorf("current: %+v", now)
	}
}

func TestMetricsAreServed(t *testing.T) {
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "remora_test_total", Help: "Test."})
	reg.MustRegister(counter)
	counter.Add(3)
	addr := serve(t, NewHealth(NewConditions(), reg, nil))
	res := get(t, "GET", addr, "/metrics", "Host", "10.1.2.3:7602")
	if res.status != 200 || !strings.Contains(res.body, "remora_test_total 3") {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestHealthAnswersProblems(t *testing.T) {
	addr := serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil))
	for _, c := range []struct {
		method, path, code, allow string
		status                    int
	}{
		{"GET", "/", "no-such-path", "", 404},
		{"POST", "/readyz", "method-not-allowed", "GET, HEAD", 405},
	} {
		res := get(t, c.method, addr, c.path)
		if res.status != c.status || !strings.Contains(res.body, c.code) || res.header.Get("Allow") != c.allow || res.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, res.status, res.header, res.body)
		}
	}
}

// Who asks the wrong listener is told which one is right, and of no page that is not there.
func TestTheWrongListenerNamesTheRightOne(t *testing.T) {
	health := serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil))
	operators := serve(t, New(Options{}, Sources{}))
	for addr, want := range map[string]string{health: "listen.admin", operators: "listen.health"} {
		res := get(t, "POST", addr, "/v1/topics/orders/messages")
		if res.status != 404 || !strings.Contains(res.body, "published at listen.data") || !strings.Contains(res.body, want) {
			t.Errorf("%d %s, want %s named", res.status, res.body, want)
		}
		if page := get(t, "GET", addr, "/openapi.yaml"); strings.Contains(res.body, "openapi") != (page.status == 200) {
			t.Errorf("/openapi.yaml is %d, and the hint says %s", page.status, res.body)
		}
	}
}

func TestLedger(t *testing.T) {
	var fail error
	addr := serve(t, New(Options{}, Sources{Ledger: func(context.Context) (any, error) {
		return map[string]any{"balanced": true, "total": map[string]int{"accepted": 7}}, fail
	}}))
	res := get(t, "GET", addr, "/v1/ledger")
	if res.status != 200 || res.body != `{"balanced":true,"total":{"accepted":7}}`+"\n" || res.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", res.status, res.body)
	}
	for err, want := range map[error]string{
		spool.ErrClosed: "503 draining", context.DeadlineExceeded: "503 busy", errors.New("secret path"): "500 internal",
	} {
		fail = err
		res := get(t, "GET", addr, "/v1/ledger")
		var p struct {
			Code string `json:"code"`
		}
		if e := json.Unmarshal([]byte(res.body), &p); e != nil || fmt.Sprint(res.status, " ", p.Code) != want || strings.Contains(res.body, "secret") {
			t.Errorf("%v: %d %s, want %s", err, res.status, res.body, want)
		}
	}
}

func TestAdminIsGuarded(t *testing.T) {
	calls := 0
	addr := serve(t, New(Options{Tokens: []string{"t"}, AllowedOrigins: []string{"http://localhost:3000"}}, Sources{Ledger: func(context.Context) (any, error) {
		calls++
		return nil, nil
	}}))
	for _, c := range []struct {
		name   string
		method string
		header []string
		status int
	}{
		{"plain", "GET", nil, 200},
		{"allowed origin", "GET", []string{"Origin", "http://localhost:3000"}, 200},
		{"foreign Host", "GET", []string{"Host", "evil.example"}, 421},
		{"foreign origin", "GET", []string{"Origin", "http://evil.example"}, 403},
		{"cross-site", "GET", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"preflight", "OPTIONS", nil, 403},
		{"change without a token", "POST", nil, 401},
		{"change with a wrong token", "POST", []string{"Authorization", "Bearer x"}, 401},
		{"change with the token", "POST", []string{"Authorization", "Bearer t"}, 405},
	} {
		before := calls
		res := get(t, c.method, addr, "/v1/ledger", c.header...)
		if res.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, res.status, res.body, c.status)
		}
		if (calls > before) != (c.status == 200) {
			t.Errorf("%s: the ledger was read %d times", c.name, calls-before)
		}
	}
}

func TestAcknowledge(t *testing.T) {
	told(t, "/v1/damage/acknowledge", `{"acknowledged":[]}`, func(fail *error) Sources {
		return Sources{Acknowledge: func(context.Context) (any, error) {
			return map[string]any{"acknowledged": []int{}}, *fail
		}}
	})
}

func TestConfirmClock(t *testing.T) {
	told(t, "/v1/clock/confirm", `{"confirmed":true}`, func(fail *error) Sources {
		return Sources{ConfirmClock: func(context.Context) (any, error) {
			return map[string]any{"confirmed": true}, *fail
		}}
	})
}

// told expects of something that an operator says with a POST that it needs the
// token, is answered, and tells no secret when it fails.
func told(t *testing.T, path, answer string, sources func(fail *error) Sources) {
	t.Helper()
	var fail error
	addr := serve(t, New(Options{Tokens: []string{"t"}}, sources(&fail)))
	for _, c := range []struct {
		err    error
		header []string
		want   string
	}{
		{nil, nil, "401"},
		{nil, []string{"Authorization", "Bearer t"}, "200"},
		{spool.ErrClosed, []string{"Authorization", "Bearer t"}, "503"},
		{errors.New("secret path"), []string{"Authorization", "Bearer t"}, "500"},
	} {
		fail = c.err
		res := get(t, "POST", addr, path, c.header...)
		if fmt.Sprint(res.status) != c.want || strings.Contains(res.body, "secret") || c.want == "200" && res.body != answer+"\n" {
			t.Errorf("%v: %d %s, want %s", c.err, res.status, res.body, c.want)
		}
	}
}

func TestExposedAdminNeedsAToken(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := New(Options{}, Sources{}).Serve(ln); !errors.Is(err, ErrExposed) {
		t.Errorf("Serve on 0.0.0.0 without a token: %v", err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

func TestShutdownWaitsForRunningRequests(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := New(Options{Log: slog.New(slog.DiscardHandler)}, Sources{Ledger: func(context.Context) (any, error) {
		close(entered)
		<-leave
		return "done", nil
	}})
	addr := serve(t, s)
	answered := make(chan string, 1)
	go func() {
		answered <- get(t, "GET", addr, "/v1/ledger").body
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown returned %v while a request ran", err)
	default:
	}
	close(leave)
	if body := <-answered; body != "\"done\"\n" {
		t.Errorf("the running request got %q", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
