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
	"testing"
	"time"
)

// called is an application that tells the bodies that it is called with.
func called(t *testing.T) (url string, bodies chan string) {
	t.Helper()
	bodies = make(chan string, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			bodies <- string(body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

// takeAll waits for one call with each body, and no other for a while.
func takeAll(ctx context.Context, t *testing.T, bodies chan string, want ...string) {
	t.Helper()
	waiting := map[string]bool{}
	for _, w := range want {
		waiting[w] = true
	}
	for len(waiting) > 0 {
		select {
		case b := <-bodies:
			if !waiting[b] {
				t.Fatalf("called with %s, waited for %v", b, waiting)
			}
			delete(waiting, b)
		case <-ctx.Done():
			t.Fatalf("no call with %v: %v", waiting, context.Cause(ctx))
		}
	}
	must(t, pause(ctx, time.Second))
	if len(bodies) > 0 {
		t.Fatalf("called with %s, which was not waited for", <-bodies)
	}
}

// publishAll has the broker confirm each.
func publishAll(ctx context.Context, t *testing.T, s *sidecar, topic string, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		must(t, publish(ctx, s, topic, b))
	}
}

// publish returns when the broker has confirmed.
func publish(ctx context.Context, s *sidecar, topic, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addresses().Data[0]+"/v1/topics/"+topic+"/messages?wait=30s", strings.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("publish %s: %d", body, res.StatusCode)
	}
	return errors.Join(err, res.Body.Close())
}

// TestResetToATime: of a group on RocketMQ that has a member at another sidecar no
// offset is changed. When that is gone, what was stored since a time comes again, once
// and nothing else; the consumer that was stopped for it does not write its own
// progress over it, nor does a restart bring anything back.
func TestResetToATime(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	topic := fmt.Sprintf("resets-%d", time.Now().UnixNano())
	createTopics(t, topic)
	url, bodies := called(t)
	subscriptions := fmt.Sprintf("subscriptions: [{name: resets-app, topic: %[1]s, group: %[1]s-app, handler: %[2]q, dedupe: {store: off}}]", topic, url)
	one := newSidecar(t, "the sidecar that is reset", nameServer(), subscriptions)
	other := newSidecar(t, "another member", nameServer(), subscriptions)
	must(t, one.Start())
	early, late := []string{"e1", "e2", "e3", "e4", "e5"}, []string{"l1", "l2", "l3", "l4", "l5"}
	publishAll(ctx, t, one, topic, early...)
	takeAll(ctx, t, bodies, early...)
	between := time.Now().Add(-time.Second).UTC().Format(time.RFC3339Nano)
	publishAll(ctx, t, one, topic, late...)
	takeAll(ctx, t, bodies, late...)

	must(t, other.Start())
	reset := func(more ...string) (string, error) {
		out, err := one.Command(ctx, append([]string{"subscription", "reset", "resets-app", "--to", between}, more...)...).CombinedOutput()
		return string(out), err
	}
	untilMembers := func(n int) { // and until all is acked
		for {
			out, err := reset("--dry-run", "-o", "json")
			must(t, err)
			var plan struct {
				Repeats, Skips int
				Members        []string
			}
			if err := json.Unmarshal([]byte(out), &plan); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if len(plan.Members) == n && plan.Repeats == 5 && plan.Skips == 0 {
				return
			}
			must(t, pause(ctx, 200*time.Millisecond))
		}
	}
	untilMembers(1)
	out, err := reset("--yes")
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || !strings.Contains(out, "has other members") {
		t.Fatalf("reset with another member: %v, %s", err, out)
	}
	must(t, other.Stop())
	untilMembers(0)
	for quiet := false; !quiet; { // queues that changed hands may bring something again
		for len(bodies) > 0 {
			<-bodies
		}
		must(t, pause(ctx, time.Second))
		quiet = len(bodies) == 0
	}
	if out, err = reset("--yes"); err != nil {
		t.Fatalf("reset: %v, %s", err, out)
	}
	if !strings.Contains(out, "5 come again, 0 are skipped") {
		t.Errorf("reset says %s", out)
	}
	takeAll(ctx, t, bodies, late...)
	must(t, one.Stop())
	must(t, one.Start())
	publishAll(ctx, t, one, topic, "last")
	takeAll(ctx, t, bodies, "last")
	page, err := one.Get(ctx, one.Addresses().Admin, "/v1/subscriptions")
	must(t, err)
	if !strings.Contains(string(page), `"group_is_new":false`) {
		t.Errorf("it began as %s", page)
	}
}
