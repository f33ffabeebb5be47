package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

// TestAccessControl: with a wrong secret messages wait, and nothing dies of it;
// with the right one in its file they go, without a restart. After the secret was
// changed at the broker they wait again, until the file has the new one.
func TestAccessControl(t *testing.T) {
	const topic = "guarded"
	ctx := within(t, 2*time.Minute)
	w := newTrial(t, newScene(t), topic)
	waits := func(why string) {
		t.Helper()
		posting := w.begin(ctx, topic)
		before := w.attempts(ctx, t, "NO_PERMISSION")
		await(ctx, t, func() error {
			if n := w.attempts(ctx, t, "NO_PERMISSION"); n < before+3 {
				return fmt.Errorf("%s: %d attempts were refused", why, n-before)
			}
			return nil
		})
		posting.end(t)
		if l, err := w.ledger(ctx); err != nil || l.Total.InSpool["dead"] > 0 || l.Total.Confirmed == l.Total.Accepted {
			t.Errorf("%s: %+v (%v)", why, l, err)
		}
	}
	rewrite := func(secret string) {
		t.Helper()
		must(t, os.WriteFile(w.secret, []byte(secret), 0o600))
	}
	rewrite("wrong")
	must(t, w.side.Start())
	waits("wrong secret")
	rewrite(secret)
	w.drained(ctx, t)

	change := func(secret string) {
		for _, b := range w.Brokers {
			must(t, b.SetPassword(user, secret))
		}
	}
	change("second")
	t.Cleanup(func() { change(secret) })
	waits("changed secret")
	rewrite("second")
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted and on the brokers, %d repeats; drained %v after the new secret was in its file", w.count(), w.repeats(), took.Round(time.Millisecond))
}

// handled is a handler of a subscription, and what it was given. It may lease one of its
// messages, or hold the call for one.
type handled struct {
	leases, holds string        // bodies
	release       chan struct{} // closed: the call that is held ends

	mu     sync.Mutex
	bodies map[string]int
	leased []string // the deliveries
	cut    int      // calls that are held
}

func (h *handled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sidecar is gone
	}
	h.note(w, string(body), r.Header.Get("MQ-Delivery-Id"))
	if string(body) != h.holds {
		return
	}
	select {
	case <-h.release:
	case <-r.Context().Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		h.cut++
	}
}

func (h *handled) note(w http.ResponseWriter, body, delivery string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bodies[body]++
	if h.leases != "" && body == h.leases {
		h.leased = append(h.leased, delivery)
		w.WriteHeader(http.StatusAccepted)
	}
}

// await waits until all of the bodies came.
func (h *handled) await(ctx context.Context, t *testing.T, bodies ...string) {
	t.Helper()
	await(ctx, t, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, b := range bodies {
			if h.bodies[b] == 0 {
				return fmt.Errorf("%q is not handled", b)
			}
		}
		return nil
	})
}

// TestConsumingGoesOnWithAnotherSecret: a subscription takes the new secret from its
// file, too, and misses nothing of what came meanwhile. What is leased then stays leased;
// where order is asked for, a call ends before anything else of its key is delivered.
func TestConsumingGoesOnWithAnotherSecret(t *testing.T) {
	t.Run("with a lease", func(t *testing.T) {
		h := &handled{leases: "for a while", bodies: map[string]int{}}
		w := changeSecret(t, h, "guarded-and-leased", "")
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.leased) != 1 {
			t.Fatalf("what was leased was delivered %d times", len(h.leased))
		}
		if status := ack(t.Context(), t, w, h.leased[0]); status != http.StatusOK {
			t.Errorf("its ack is answered %d", status)
		}
	})
	t.Run("in order", func(t *testing.T) {
		h := &handled{holds: "for a call", release: make(chan struct{}), bodies: map[string]int{}}
		changeSecret(t, h, "guarded-and-ordered", "ordered: true")
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.bodies[h.holds] != 1 || h.cut > 0 {
			t.Errorf("the call over the change is made %d times, and cut short %d times", h.bodies[h.holds], h.cut)
		}
	})
}

// changeSecret has h handle messages of a topic before and after a change of the secret.
func changeSecret(t *testing.T, h *handled, topic, more string) *trial {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s := newScene(t, fmt.Sprintf("subscriptions: [{name: %s, topic: %[1]s, handler: %q, %s}]\n", topic, server.URL, more))
	w := newTrial(t, s, topic)
	key := ""
	if h.holds != "" {
		key = "one"
	}
	post := func(body string) {
		t.Helper()
		if _, err := w.post(ctx, &sent{topic: topic, key: key, body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	must(t, w.side.Start())
	first := "with the first secret"
	post(first)
	for _, body := range []string{h.leases, h.holds} {
		if body != "" {
			post(body)
			h.await(ctx, t, body)
		}
	}
	h.await(ctx, t, first)
	for _, b := range w.Brokers {
		must(t, b.SetPassword(user, "third"))
		t.Cleanup(func() { must(t, b.SetPassword(user, secret)) })
	}
	post("after the change")
	must(t, os.WriteFile(w.secret, []byte("third"), 0o600))
	post("with the new secret")
	if h.holds != "" {
		await(ctx, t, func() error { return w.side.Says("the keys have changed: what is being delivered may end first") })
		w.drained(ctx, t)
		time.Sleep(3 * time.Second) // thrice what drain.timeout leaves to a call when a sidecar stops
		h.mu.Lock()
		if n := len(h.bodies); n > 2 {
			t.Errorf("what is behind the call is delivered beside it: %v", h.bodies)
		}
		h.mu.Unlock()
		close(h.release)
	}
	h.await(ctx, t, "after the change", "with the new secret")
	w.drained(ctx, t)
	post("and after that")
	h.await(ctx, t, "and after that")
	return w
}

func ack(ctx context.Context, t *testing.T, w *trial, delivery string) (status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.side.Addresses().Data[0]+"/v1/deliveries/"+delivery+"/ack", nil)
	must(t, err)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, response.Body.Close())
	return response.StatusCode
}
