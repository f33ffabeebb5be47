package httpapi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/httpapi"
)

// fakeDeliveries notes what it is told and answers as the script says.
type fakeDeliveries struct {
	said []string
	late bool
	err  error

	heldUp []ackgate.HeldUp
	pulled []ackgate.Pulled
	waits  chan struct{} // closed by Receive, which then waits until it is ended; nil: it does not

	takenBack chan string // IDs
}

func (f *fakeDeliveries) Find(id string) (ackgate.Lease, error) {
	return ackgate.Lease{ID: id, MessageID: "M", State: "leased", ExpiresAt: time.Now().Add(time.Minute)}, f.err
}

func (f *fakeDeliveries) Ack(_ context.Context, id string) (bool, error) {
	f.said = append(f.said, "ack "+id)
	return f.late, f.err
}

func (f *fakeDeliveries) Nack(id string, n ackgate.Nack) error {
	f.said = append(f.said, fmt.Sprintf("nack %s %v %v", id, n.Delay, n.DeadLetter))
	return f.err
}

func (f *fakeDeliveries) Extend(_ context.Context, id string, d time.Duration) (ackgate.Lease, error) {
	f.said = append(f.said, fmt.Sprintf("extend %s %v", id, d))
	return ackgate.Lease{ID: id, MessageID: "M", State: "leased", ExpiresAt: time.Now().Add(d / 2)}, f.err
}

func (f *fakeDeliveries) Receive(ctx context.Context, name string, p ackgate.Pull) ([]ackgate.Pulled, error) {
	f.said = append(f.said, fmt.Sprintf("receive %s {Max:%d Wait:%v Lease:%v}", name, p.Max, p.Wait, p.Lease))
	if f.waits != nil {
		close(f.waits)
		<-ctx.Done()
	}
	return f.pulled, f.err
}

func (f *fakeDeliveries) TakeBack(id string) { f.takenBack <- id }

func (f *fakeDeliveries) HeldUp(string) []ackgate.HeldUp { return f.heldUp }

const jsonType = "application/json"

func startDeliveries(t *testing.T) (*listener, *fakeDeliveries) {
	t.Helper()
	f := &fakeDeliveries{}
	return start(t, httpapi.Options{Deliveries: f}), f
}

func TestDeliveries(t *testing.T) {
	tests := []struct {
		method, path, body string
		late               bool
		said               string
		want               map[string]any
	}{
		{"GET", "", "", false, "", map[string]any{"id": "d-1", "state": "leased", "message_id": "M"}},
		{"POST", "/ack", "", false, "ack d-1", map[string]any{"id": "d-1", "state": "acked", "late": nil}},
		{"POST", "/ack", "{}", false, "ack d-1", map[string]any{"state": "acked"}},
		{"POST", "/ack", "", true, "ack d-1", map[string]any{"state": "acked", "late": true}},
		{"POST", "/nack", "", false, "nack d-1 -1ns false", map[string]any{"id": "d-1", "state": "nacked"}},
		{"POST", "/nack", `{"delay":"30s","dead_letter":false}`, false, "nack d-1 30s false", map[string]any{"state": "nacked"}},
		{"POST", "/nack", `{"delay":null,"dead_letter":true}`, false, "nack d-1 -1ns true", map[string]any{"state": "nacked"}},
		{"POST", "/nack", `{"delay":"0s"}`, false, "nack d-1 0s false", map[string]any{"state": "nacked"}},
		{"POST", "/extend", `{"lease":"60s"}`, false, "extend d-1 1m0s", map[string]any{"state": "leased", "id": "d-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) {
			l, f := startDeliveries(t)
			f.late = tt.late
			a := l.do(tt.method, "/v1/deliveries/d-1"+tt.path, tt.body, "Content-Type", jsonType)
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			for member, want := range tt.want {
				if a.json[member] != want {
					t.Errorf("%s = %v, want %v", member, a.json[member], want)
				}
			}
			if got := strings.Join(f.said, ", "); got != tt.said {
				t.Errorf("told %q, want %q", got, tt.said)
			}
		})
	}
}

// The answer tells the lease that was given, not the one that was asked for.
func TestExtendTellsTheLeaseGiven(t *testing.T) {
	l, _ := startDeliveries(t)
	a := l.do("POST", "/v1/deliveries/d-1/extend", `{"lease":"60s"}`, "Content-Type", jsonType)
	given, err := time.ParseDuration(fmt.Sprint(a.json["lease"]))
	if err != nil || given > 30*time.Second || given < 10*time.Second {
		t.Errorf("answered %s", a.raw)
	}
}

func TestDeliveriesAreRefused(t *testing.T) {
	type said struct {
		status int
		code   string
	}
	for _, tt := range []struct {
		path, body, media string
		want              said
	}{
		{"/ack", `{"lease":"1s"}`, jsonType, said{400, "invalid-option"}},
		{"/ack", `[]`, jsonType, said{400, "invalid-json"}},
		{"/ack?late=1", "", "", said{400, "invalid-option"}},
		{"/nack", `{"delay":30}`, jsonType, said{400, "invalid-option"}},
		{"/nack", `{"delay":"3h"}`, jsonType, said{400, "invalid-option"}},
		{"/nack", `{"delay":"-3s"}`, jsonType, said{400, "invalid-option"}},
		{"/nack", `{"dead_letter":"yes"}`, jsonType, said{400, "invalid-option"}},
		{"/nack", `{"dead_letter":true,"dead_letter":false}`, jsonType, said{400, "invalid-json"}},
		{"/nack", `{"delay":"3s"}`, "text/plain", said{415, "unsupported-media-type"}},
		{"/nack", `{"delay":"` + strings.Repeat(" ", 5000) + `3s"}`, jsonType, said{413, "message-too-large"}},
		{"/extend", ``, "", said{400, "invalid-option"}},
		{"/extend", `{}`, jsonType, said{400, "invalid-option"}},
		{"/extend", `{"lease":"0s"}`, jsonType, said{400, "invalid-option"}},
		{"/extend", `{"lease":"soon"}`, jsonType, said{400, "invalid-option"}},
		{"/settle", ``, "", said{404, "no-such-path"}},
	} {
		t.Run(tt.path+tt.body[:min(len(tt.body), 30)], func(t *testing.T) {
			l, f := startDeliveries(t)
			var header []string
			if tt.media != "" {
				header = []string{"Content-Type", tt.media}
			}
			l.refused(l.do("POST", "/v1/deliveries/d-1"+tt.path, tt.body, header...), tt.want.status, tt.want.code)
			if len(f.said) > 0 {
				t.Errorf("told all the same: %v", f.said)
			}
		})
	}
}

func TestProblemsOfDeliveries(t *testing.T) {
	for err, want := range map[error]string{
		ackgate.ErrStarting: "503 starting", ackgate.ErrUnknownDelivery: "404 unknown-delivery",
		ackgate.ErrLeaseExpired: "410 lease-expired", ackgate.ErrAcked: "409 already-acked",
		ackgate.ErrNotRecorded: "503 dedupe-unavailable",
		fmt.Errorf("%w: %w", ackgate.ErrNotRecorded, dedupe.ErrClosed): "503 draining",
		fmt.Errorf("wrapped: %w", ackgate.ErrLeaseExpired):             "410 lease-expired",
	} {
		l, f := startDeliveries(t)
		f.err = err
		for _, path := range []string{"/ack", "/nack", "/extend"} {
			a := l.do("POST", "/v1/deliveries/d-1"+path, `{"lease":"60s"}`[:map[string]int{"/extend": 15}[path]], "Content-Type", jsonType)
			if got := fmt.Sprint(a.status, " ", a.code()); got != want {
				t.Errorf("%s: %v answered %s, want %s", path, err, got, want)
			}
		}
		if a := l.do("GET", "/v1/deliveries/d-1", ""); fmt.Sprint(a.status, " ", a.code()) != want {
			t.Errorf("GET: %v answered %d %s", err, a.status, a.code())
		}
	}
}

// A listener that stops publishing still takes acks: what is done is not to come
// again.
func TestAcksAreTakenWhileDraining(t *testing.T) {
	l, f := startDeliveries(t)
	l.server.Drain()
	if a := l.do("POST", "/v1/deliveries/d-1/ack", ""); a.status != 200 || len(f.said) != 1 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// Without subscriptions there are no deliveries, and an ID is unknown.
func TestNoDeliveries(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.refused(l.do("POST", "/v1/deliveries/d-1/ack", ""), 404, "unknown-delivery")
}
