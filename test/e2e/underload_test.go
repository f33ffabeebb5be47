package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// stream publishes numbers, one after the other, and takes them as their subscriber.
type stream struct {
	t *testing.T

	mu   sync.Mutex
	told []told // by number
}

// told is what is known of a message.
type told struct {
	sent, confirmed time.Time
	calls           []time.Time
}

// ServeHTTP is the handler of the subscription.
func (s *stream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	n, wrong := strconv.Atoi(string(body))
	if err != nil || wrong != nil {
		return // the sidecar is gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[n].calls = append(s.told[n].calls, time.Now())
}

// flow publishes until stop, which returns when all is confirmed.
func (s *stream) flow(ctx context.Context, side *sidecar, topic string) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			case <-ctx.Done():
				return
			default:
			}
			s.mu.Lock()
			s.told = append(s.told, told{sent: time.Now()})
			s.mu.Unlock()
			if err := publish(ctx, side, topic, strconv.Itoa(n)); err != nil {
				s.t.Error(err)
				return
			}
			s.mu.Lock()
			s.told[n].confirmed = time.Now()
			s.mu.Unlock()
		}
	}()
	return func() { close(end); <-ended }
}

// count counts the messages of which is says so.
func (s *stream) count(is func(told) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.told {
		if is(m) {
			n++
		}
	}
	return n
}

// more waits until there are so many more messages of which is says so.
func (s *stream) more(ctx context.Context, n int, is func(told) bool) {
	s.t.Helper()
	for want := s.count(is) + n; s.count(is) < want; {
		must(s.t, pause(ctx, 20*time.Millisecond))
	}
}

func isHandled(m told) bool   { return len(m.calls) > 0 }
func isConfirmed(m told) bool { return !m.confirmed.IsZero() }

// TestPauseAndResetUnderLoad: while messages flow through RocketMQ a subscription is
// paused: no call is made. It is resumed: all comes, once. It is reset: what was stored
// since the time comes once more, nothing from before it does, and nothing is missing.
func TestPauseAndResetUnderLoad(t *testing.T) {
	const some = 150
	ctx := within(t, 4*time.Minute)
	topic := fmt.Sprintf("flow-%d", time.Now().UnixNano())
	createTopics(t, topic)
	s := &stream{t: t}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	side := newSidecar(t, "sidecar", nameServer(), fmt.Sprintf(
		"subscriptions: [{name: flow, topic: %[1]s, group: %[1]s-app, handler: %[2]q, dedupe: {store: off}}]", topic, server.URL))
	must(t, side.Start())
	order := func(args ...string) {
		t.Helper()
		if out, err := side.Command(ctx, append([]string{"subscription"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v, %s", args, err, out)
		}
	}
	stop := s.flow(ctx, side, topic)
	s.more(ctx, some, isHandled)

	order("pause", "flow")
	paused := time.Now().Add(time.Second) // a call that had begun is at the handler by then
	s.more(ctx, some, func(m told) bool { return isConfirmed(m) && m.sent.After(paused) })
	resumed := time.Now()
	order("resume", "flow")
	s.more(ctx, some, func(m told) bool { return m.sent.After(resumed) && isHandled(m) })

	to := time.Now().UTC()
	s.more(ctx, some, func(m told) bool { return m.sent.After(to) && isHandled(m) })
	reset := time.Now()
	order("reset", "flow", "--to", to.Format(time.RFC3339Nano), "--yes")
	done := time.Now()
	s.more(ctx, some, func(m told) bool { return m.sent.After(done) && isHandled(m) })
	stop()
	for s.count(isHandled) < s.count(isConfirmed) {
		must(t, pause(ctx, 20*time.Millisecond))
	}
	again := func(m told) bool { return m.sent.After(to) && isHandled(m) && m.calls[0].Before(reset) }
	for s.count(func(m told) bool { return again(m) && len(m.calls) < 2 }) > 0 {
		must(t, pause(ctx, 20*time.Millisecond))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, m := range s.told {
		for _, at := range m.calls {
			if at.After(paused) && at.Before(resumed) {
				t.Errorf("%d was called with %v before the subscription was resumed", n, resumed.Sub(at))
			}
		}
		// The broker tells times in milliseconds, and those of the reset are its own.
		if most := map[bool]int{true: 1, false: 2}[m.confirmed.Before(to.Add(-time.Second))]; len(m.calls) > most {
			t.Errorf("%d was called with %d times, sent %v and confirmed %v before the time of the reset", n, len(m.calls), to.Sub(m.sent), to.Sub(m.confirmed))
		}
	}
	t.Logf("%d messages", len(s.told))
}
