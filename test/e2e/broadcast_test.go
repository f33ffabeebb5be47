package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBroadcastReachesEveryInstance: each of two sidecars gets every message, also
// those that its handler refuses at first. One that was stopped goes on where it was;
// one that was killed misses nothing.
func TestBroadcastReachesEveryInstance(t *testing.T) {
	const each = 10
	ctx := within(t, 3*time.Minute)
	topic := fmt.Sprint("broadcast-", time.Now().UnixNano())
	createTopics(t, topic)
	app := startListeners(t)
	producing := newSidecar(t, "producing", nameServer(), "")
	must(t, producing.Start())
	o := &ordered{t: t, sidecar: producing, topic: topic, number: map[string]int{}, key: map[string]string{}}
	named, unnamed := app.instance(topic, "named", "instance: pod-0, "), app.instance(topic, "unnamed", "")
	must(t, named.Start())
	must(t, unnamed.Start())
	o.publish(ctx, 1, each)
	app.awaitAll(ctx, "named", o.next)
	app.awaitAll(ctx, "unnamed", o.next)

	must(t, named.Stop())
	o.publish(ctx, 1, each)
	app.awaitAll(ctx, "unnamed", o.next)
	must(t, named.Start())
	app.awaitAll(ctx, "named", o.next)
	app.once("named")

	must(t, unnamed.Kill())
	o.publish(ctx, 1, each)
	app.awaitAll(ctx, "named", o.next)
	must(t, unnamed.Start())
	app.awaitAll(ctx, "unnamed", o.next)
}

// listeners are the applications beside the instances. Each refuses every fifth
// message once.
type listeners struct {
	t      *testing.T
	server *httptest.Server
	news   chan struct{}

	mu      sync.Mutex
	handled map[string]map[string]int // instance → body → times
	refused map[string]bool
}

func startListeners(t *testing.T) *listeners {
	t.Helper()
	app := &listeners{t: t, news: make(chan struct{}, 1), handled: map[string]map[string]int{"named": {}, "unnamed": {}}, refused: map[string]bool{}}
	app.server = httptest.NewServer(app)
	t.Cleanup(app.server.Close)
	return app
}

func (app *listeners) instance(topic, name, extra string) *sidecar {
	app.t.Helper()
	return newSidecar(app.t, name, nameServer(), fmt.Sprintf(`subscriptions:
  - {name: %s, topic: %s, handler: %q, broadcast: true, %sdedupe: {store: off}, retry: {initial: 50ms, max: 1s}}`, topic, topic, app.server.URL+"/"+name, extra))
}

func (app *listeners) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	instance := strings.TrimPrefix(r.URL.Path, "/")
	app.mu.Lock()
	defer app.mu.Unlock()
	if once := instance + string(body); strings.HasSuffix(once, "4") && !app.refused[once] {
		app.refused[once] = true
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	app.handled[instance][string(body)]++
	select {
	case app.news <- struct{}{}:
	default:
	}
}

func (app *listeners) awaitAll(ctx context.Context, instance string, n int) {
	app.t.Helper()
	for {
		app.mu.Lock()
		got := len(app.handled[instance])
		app.mu.Unlock()
		if got == n {
			return
		}
		select {
		case <-app.news:
		case <-time.After(100 * time.Millisecond): // the other's news
		case <-ctx.Done():
			app.t.Fatalf("%s has %d of %d messages: %v", instance, got, n, context.Cause(ctx))
		}
	}
}

// once wants each message handled once: nobody but the broker knows what was.
func (app *listeners) once(instance string) {
	app.t.Helper()
	app.mu.Lock()
	defer app.mu.Unlock()
	for body, times := range app.handled[instance] {
		if times != 1 {
			app.t.Errorf("%s handled %s %d times", instance, body, times)
		}
	}
}
