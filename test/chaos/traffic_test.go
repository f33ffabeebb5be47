package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sent is a message that was accepted.
type sent struct {
	topic, key string
	body       []byte
}

// lane is what keeps its order; "" if nothing has to.
func (m *sent) lane() string {
	if m.key == "" {
		return ""
	}
	return m.topic + "/" + m.key
}

// history is what the application was told.
type history struct {
	mu       sync.Mutex
	accepted map[string]*sent    // by message ID
	lanes    map[string][]string // IDs, in the order of the answers
	latest   map[string]string   // ID of the last one, by topic/key, also of those without a key
}

func newHistory() *history {
	return &history{accepted: map[string]*sent{}, lanes: map[string][]string{}, latest: map[string]string{}}
}

func (h *history) add(id string, m *sent) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.accepted[id] != nil {
		return fmt.Errorf("message ID %s was given twice", id)
	}
	h.accepted[id], h.latest[m.topic+"/"+m.key] = m, id
	if lane := m.lane(); lane != "" {
		h.lanes[lane] = append(h.lanes[lane], id)
	}
	return nil
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.accepted)
}

// last are the IDs of the last message of each key of a topic, and of the last
// one without a key, by topic/key.
func (h *history) last(topic string) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := maps.Clone(h.latest)
	maps.DeleteFunc(all, func(lane, _ string) bool { return !strings.HasPrefix(lane, topic+"/") })
	return all
}

// ids are those of all messages so far.
func (h *history) ids() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.accepted))
}

// application posts to the sidecar. Whatever the brokers do, it must be answered
// 202 each time.
type application struct {
	*history

	scene *scene
	http  *http.Client
}

func newApplication(t *testing.T, s *scene) *application {
	a := &application{newHistory(), s, &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

// post returns the message ID.
func (a *application) post(ctx context.Context, m *sent, header ...string) (id string, err error) {
	url := "http://" + a.scene.side.Addresses().Data[0] + "/v1/topics/" + m.topic + "/messages"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.body))
	if err != nil {
		return "", err
	}
	if m.key != "" {
		r.Header.Set("MQ-Ordering-Key", m.key)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	var receipt struct{ ID string }
	if err := a.ask(r, http.StatusAccepted, &receipt); err != nil {
		return "", err
	}
	return receipt.ID, a.add(receipt.ID, m)
}

func (a *application) ask(r *http.Request, want int, into any) error {
	response, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != want {
		err = fmt.Errorf("%s %s: %d, want %d: %.300s", r.Method, r.URL, response.StatusCode, want, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// story is what the sidecar tells of a message.
type story struct {
	State   string
	Attempt int    `json:"attempts"`
	Error   string `json:"last_error"`
	History []struct{ Event, Outcome string }
	Skipped int `json:"history_skipped"`
}

func (a *application) story(ctx context.Context, id string) (s story, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.scene.side.Addresses().Data[0]+"/v1/messages/"+id, nil)
	if err == nil {
		err = a.ask(r, http.StatusOK, &s)
	}
	return s, err
}

// lostAnswers is how many attempts ended without one that says what became of
// the message.
func (s *story) lostAnswers() (n int) {
	for _, e := range s.History {
		if e.Outcome == "unknown" {
			n++
		}
	}
	return n + s.Skipped
}

// traffic is posters that run until it is stopped.
type traffic struct {
	*application

	cancel  context.CancelFunc
	posters sync.WaitGroup
	mu      sync.Mutex
	failed  error // the first one
}

// pace is how long a poster waits between two messages.
const pace = 3 * time.Millisecond

// begin has posters of messages without a key, and of four keys, to each topic.
// A key has one poster, so its messages are accepted in the order of its posts.
func (a *application) begin(ctx context.Context, topics ...string) *traffic {
	ctx, cancel := context.WithCancel(ctx)
	f := &traffic{application: a, cancel: cancel}
	for _, topic := range topics {
		for _, keys := range [][]string{{""}, {"red", "white"}, {"blue", "gold"}} {
			f.posters.Go(func() { f.run(ctx, topic, keys) })
		}
	}
	return f
}

func (f *traffic) run(ctx context.Context, topic string, keys []string) {
	for n := 0; ctx.Err() == nil; n++ {
		m := &sent{topic: topic, key: keys[n%len(keys)]}
		m.body = fmt.Appendf(nil, "%d of %q %s", n, m.key, bytes.Repeat([]byte{'x'}, n*37%1500))
		// One that was begun is ended: else nobody knows what became of it.
		if _, err := f.post(context.WithoutCancel(ctx), m); err != nil {
			f.mu.Lock()
			f.failed = cmpOr(f.failed, err)
			f.mu.Unlock()
			return
		}
		pause(ctx, pace)
	}
}

// end stops the posters. It fails if one of them was refused.
func (f *traffic) end(t *testing.T) {
	t.Helper()
	f.cancel()
	f.posters.Wait()
	must(t, f.failed)
}

func cmpOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
