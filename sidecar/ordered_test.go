package sidecar_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// orderedApp is a handler that refuses one message for as long as it is told to.
type orderedApp struct {
	mu      sync.Mutex
	refuses string
	calls   int      // of that
	handled []string // in order
	news    chan struct{}
}

func (a *orderedApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() {
		select {
		case a.news <- struct{}{}:
		default:
		}
	}()
	if string(body) == a.refuses {
		a.calls++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a.handled = append(a.handled, string(body))
}

func (a *orderedApp) await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		a.mu.Lock()
		ok := is()
		a.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-a.news:
		case <-deadline:
			t.Fatalf("not %s in a minute: handled %v", what, a.handled)
		}
	}
}

func (r *running) status() (s sidecar.Status) {
	r.t.Helper()
	res, err := client.Get("http://" + r.side.Addresses().Admin + "/v1/status")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// TestOrderedSubscription: a message that its handler does not take keeps its key
// waiting, beyond its attempts and over a restart, and is told; other keys go on.
func TestOrderedSubscription(t *testing.T) {
	app := &orderedApp{refuses: "a0", news: make(chan struct{}, 1)}
	server := httptest.NewServer(app)
	defer server.Close()
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "ordered", Topic: "orders", Handler: server.URL, Ordered: true,
		Retry: config.SubscriptionRetry{MaxAttempts: 1, Initial: 10 * config.Millisecond, Max: 50 * config.Millisecond}}}
	r := start(t, c)
	for _, body := range []string{"a0", "b0", "a1", "b1", "a2"} {
		if status := r.ask("/v1/topics/orders/messages?ordering_key="+body[:1], body, nil); status != http.StatusAccepted {
			t.Fatalf("publish: %d", status)
		}
	}
	app.await(t, "b before a", func() bool { return slices.Equal(app.handled, []string{"b0", "b1"}) && app.calls > 2 })
	s := r.status()
	if len(s.Blocked) != 1 || s.Blocked[0].OrderingKey != "a" || !s.Blocked[0].Exhausted || s.Blocked[0].Since.IsZero() {
		t.Errorf("blocked: %+v", s.Blocked)
	}
	for deadline := time.Now().Add(time.Minute); !slices.Contains(r.status().Degraded, "delivery-blocked"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("delivery-blocked is no condition")
		}
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	if status := r.ask("/v1/topics/orders/messages?ordering_key=a", "a3", nil); status != http.StatusAccepted {
		t.Fatalf("publish: %d", status)
	}
	app.mu.Lock()
	app.refuses = ""
	app.mu.Unlock()
	app.await(t, "all", func() bool { return len(app.handled) == 6 })
	if got := strings.Join(app.handled[2:], " "); got != "a0 a1 a2 a3" {
		t.Errorf("after the restart: %s", got)
	}
	if left := r.status(); len(left.Blocked) != 0 {
		t.Errorf("still blocked: %s", fmt.Sprint(left.Blocked))
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
