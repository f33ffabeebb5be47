package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/rocketmq"
)

// rejecting is an application that answers 422 until it is mended.
type rejecting struct {
	t     *testing.T
	s     *sidecar
	topic string
	group string

	mu      sync.Mutex
	mended  bool
	handled map[string]int // 200s by body
	late    []string       // bodies of attempts other than the first, since it was mended
}

func startRejecting(t *testing.T) *rejecting {
	t.Helper()
	topic := fmt.Sprintf("dying-%d", time.Now().UnixNano()) // the broker keeps the dead letters of the run before
	a := &rejecting{t: t, topic: topic, group: topic + "-app", handled: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sidecar was killed while it sent
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case strings.HasPrefix(string(body), "bad") && !a.mended:
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		case a.mended && r.Header.Get("MQ-Attempt") != "1":
			a.late = append(a.late, string(body)+" "+r.Header.Get("MQ-Attempt"))
		}
		a.handled[string(body)]++
	}))
	t.Cleanup(server.Close)
	a.s = newSidecar(t, "sidecar", nameServer(), a.subscription(server.URL))
	return a
}

func (a *rejecting) subscription(handler string) string {
	return fmt.Sprintf("subscriptions: [{name: %s, topic: %s, handler: %q}]", a.group, a.topic, handler)
}

func (a *rejecting) mend(mended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mended = mended
}

// done is how many of kind were answered 200, and how many such answers there were.
func (a *rejecting) done(kind string) (bodies, answers int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for body, n := range a.handled {
		if strings.HasPrefix(body, kind) {
			bodies, answers = bodies+1, answers+n
		}
	}
	return bodies, answers
}

func (a *rejecting) publish(ctx context.Context, kind string, n int) {
	a.t.Helper()
	for i := range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.s.Addresses().Data[0]+"/v1/topics/"+a.topic+"/messages", strings.NewReader(fmt.Sprint(kind, i)))
		must(a.t, err)
		res, err := http.DefaultClient.Do(req)
		must(a.t, err)
		must(a.t, res.Body.Close())
		if res.StatusCode != http.StatusAccepted {
			a.t.Fatalf("publish: %d", res.StatusCode)
		}
	}
}

// dlq runs a command on the dead letters of the group at a sidecar.
func (a *rejecting) dlq(ctx context.Context, s *sidecar, args ...string) (string, error) {
	out, err := s.Command(ctx, append(append([]string{"dlq"}, args...), "--group", a.group)...).Output()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		err = fmt.Errorf("%w: %s", err, ended.Stderr)
	}
	return string(out), err
}

// causes counts them by cause, as the command shows it.
func (a *rejecting) causes(ctx context.Context, s *sidecar) (map[string]int, error) {
	out, err := a.dlq(ctx, s, "list", "--by-cause", "-o", "json")
	var items []struct {
		Cause    string
		Messages int
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &items)
	}
	all := map[string]int{}
	for _, i := range items {
		all[i.Cause] = i.Messages
	}
	return all, err
}

// await waits until there are as many dead letters, all of one cause.
func (a *rejecting) await(ctx context.Context, s *sidecar, cause string, n int) {
	a.t.Helper()
	for {
		all, err := a.causes(ctx, s)
		must(a.t, err)
		if all[cause] == n && (len(all) == 1 || n == 0 && len(all) == 0) {
			return
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			a.t.Fatalf("dead letters %v, want %d of cause %q: %v", all, n, cause, err)
		}
	}
}

// wantAtBroker compares with the broker's own: how many have died, and up to where
// the group is done with them.
func (a *rejecting) wantAtBroker(ctx context.Context, died, settled int64) {
	a.t.Helper()
	topic := "%DLQ%" + a.group
	for {
		top, err := shared.Brokers[0].MaxOffset(topic, 0)
		must(a.t, err)
		offset, err := shared.Brokers[0].ConsumerOffset(a.group, topic, 0)
		if errors.Is(err, rocketmq.ErrNoOffset) {
			offset, err = 0, nil
		}
		must(a.t, err)
		if top == died && offset == settled {
			return
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			a.t.Fatalf("the broker has %d dead letters, %d of them settled; want %d and %d", top, offset, died, settled)
		}
	}
}

// TestDeadLettersOfAGroup: what a handler answers 422 is listed under that cause, as
// many as the broker has. A redrive brings each to the handler again, as a first
// attempt, through a kill -9 in the middle of it, and at most the step that was under
// way twice; the broker and another member of the group know it. What is discarded is
// listed no more.
func TestDeadLettersOfAGroup(t *testing.T) {
	const bad, inFlight, cause = 60, 16, "rejected: 422" // of calls that the kill may have hit
	ctx := within(t, 3*time.Minute)
	a := startRejecting(t)
	createTopics(t, a.topic)
	must(t, a.s.Start())
	a.publish(ctx, "bad", bad)
	a.publish(ctx, "good", 10)
	a.await(ctx, a.s, cause, bad)
	a.wantAtBroker(ctx, bad, 0)

	a.mend(true)
	redriving := a.s.Command(ctx, "dlq", "redrive", "--all", "--yes", "--rate", "20", "--group", a.group)
	must(t, redriving.Start())
	for n := 0; n < 15; n, _ = a.done("bad") {
		must(t, pause(ctx, 10*time.Millisecond))
	}
	must(t, a.s.Kill())
	_ = redriving.Wait() // its sidecar is gone
	must(t, a.s.Start())
	left, err := a.causes(ctx, a.s)
	must(t, err)
	if left[cause] == 0 || left[cause] > bad-10 || len(left) != 1 {
		t.Errorf("after the kill %v are left", left)
	}
	if out, err := a.dlq(ctx, a.s, "redrive", "--cause", cause, "--yes", "--rate", "200"); err != nil || !strings.Contains(out, fmt.Sprintf("redriven %d of %d messages", left[cause], left[cause])) {
		t.Errorf("redrive: %s (%v)", out, err)
	}
	for n := 0; n < bad; n, _ = a.done("bad") {
		must(t, pause(ctx, 10*time.Millisecond))
	}
	if bodies, answers := a.done("bad"); bodies != bad || answers > bad+inFlight || len(a.late) > inFlight {
		t.Errorf("%d handled, by %d calls; not first attempts: %v", bodies, answers, a.late)
	}
	a.await(ctx, a.s, cause, 0)
	a.wantAtBroker(ctx, bad, bad)

	other := newSidecar(t, "other member", nameServer(), a.subscription("http://127.0.0.1:1/"))
	must(t, other.Start())
	a.await(ctx, other, "", 0)
	must(t, other.Stop())
	a.mend(false)
	a.publish(ctx, "bad again", 5)
	a.await(ctx, a.s, cause, 5)
	if out, err := a.dlq(ctx, a.s, "discard", "--all", "--yes"); err != nil || !strings.Contains(out, "discarded 5 of 5 messages") {
		t.Errorf("discard: %s (%v)", out, err)
	}
	a.await(ctx, a.s, "", 0)
	a.wantAtBroker(ctx, bad+5, bad+5)
	if good, answers := a.done("good"); good != 10 || answers != 10 {
		t.Errorf("%d of the others are handled, by %d calls", good, answers)
	}
}
