package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestOrderThroughAStoppedBroker: batches with ordering keys are in flight while
// the broker is stopped (SIGSTOP) for longer than the attempt's deadline. When it
// goes on it stores what we had given up, beside what we send again. Each message
// first appears behind those before it of its key, and in their queue.
func TestOrderThroughAStoppedBroker(t *testing.T) {
	const keys, each = 12, 10
	topic := fmt.Sprint("ordered-stopped-", time.Now().UnixNano())
	rounds := testscale.Between(1, 20)
	ctx := within(t, time.Duration(rounds+2)*time.Minute)
	shared.CreateTopic(t, topic, 4)
	s := newSidecar(t, "sidecar", nameServer(), "")
	must(t, s.Start())
	o := &ordered{t: t, sidecar: s, topic: topic, number: map[string]int{}, key: map[string]string{}}
	o.publish(ctx, keys, each)
	o.settled(ctx)
	t.Cleanup(func() { must(t, shared.Brokers[0].Resume()) })
	for range rounds {
		must(t, shared.Brokers[0].Pause())
		o.publish(ctx, keys, each)
		time.Sleep(7 * time.Second) // forwarder.attempt_timeout is 5 s
		o.publish(ctx, keys, each)
		must(t, shared.Brokers[0].Resume())
		o.settled(ctx)
	}
	if repeats := o.check(); repeats == 0 {
		t.Error("nothing was stored twice: no attempt reached the broker behind our back, so this shows nothing")
	}
}

// ordered publishes messages with ordering keys, and knows their order by ID.
type ordered struct {
	t       *testing.T
	sidecar *sidecar
	topic   string
	next    int
	number  map[string]int    // by ID, in the order of publishing
	key     map[string]string // by ID
}

// publish publishes one batch: each messages of each key, by turns.
func (o *ordered) publish(ctx context.Context, keys, each int) {
	o.t.Helper()
	var items []map[string]string
	for n := range keys * each {
		key := fmt.Sprint("key-", n%keys)
		items = append(items, map[string]string{"topic": o.topic, "body": fmt.Sprint(o.next + n), "ordering_key": key})
	}
	body, err := json.Marshal(items)
	must(o.t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+o.sidecar.Addresses().Data[0]+"/v1/messages:batch", bytes.NewReader(body))
	must(o.t, err)
	r.Close = true
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	must(o.t, err)
	defer response.Body.Close()
	var answer struct {
		Messages []struct {
			ID string `json:"id"`
		} `json:"messages"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Messages) != len(items) {
		o.t.Fatalf("%s, %d receipts: %v", response.Status, len(answer.Messages), err)
	}
	for n, m := range answer.Messages {
		id := strings.ToUpper(m.ID)
		o.number[id], o.key[id] = o.next+n, items[n]["ordering_key"]
	}
	o.next += len(items)
}

// settled waits until all is confirmed.
func (o *ordered) settled(ctx context.Context) {
	o.t.Helper()
	for {
		l, err := readLedger(ctx, o.sidecar)
		if err == nil && l.held() == 0 {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			o.t.Fatalf("held: %+v (%v)", l, err)
		}
	}
}

// check compares what lies in the queues, and returns how many are there again.
func (o *ordered) check() (repeats int) {
	all := copies(o.t, o.topic)
	slices.SortFunc(all, func(a, b stored) int { return int(a.offset - b.offset) })
	seen, last, queue := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, m := range all {
		key, number := o.key[m.id], o.number[m.id]
		if q, known := queue[key]; known && q != m.queue {
			o.t.Errorf("%s is in queue %d and in %d", key, q, m.queue)
		}
		queue[key] = m.queue
		if seen[m.id] {
			repeats++
			continue
		}
		if seen[m.id] = true; number < last[key] {
			o.t.Errorf("%s: message %d first appears behind %d, at %v", key, number, last[key], m.place)
		}
		last[key] = number
	}
	if len(seen) != o.next {
		o.t.Errorf("%d of %d messages are there", len(seen), o.next)
	}
	o.t.Logf("%d messages of %d keys, %d repeats", len(seen), len(last), repeats)
	return repeats
}
