package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// demoApp is the application that posts. Every post has an Idempotency-Key, so
// that it may try again whenever it got no answer.
type demoApp struct {
	d    *demo
	side *client
	half chan struct{} // closed when half of the messages are accepted

	tries    atomic.Int64 // requests, those without an answer included
	noAnswer atomic.Int64 // requests that got none: the sidecar was gone
	replayed atomic.Int64 // answers that told of an earlier accept

	mu    sync.Mutex
	known map[string]receipt // by message ID
	wrong []string           // what an answer should not have been
}

// receipt is what the application remembers of an accepted message.
type receipt struct {
	number int
	key    string // ordering key
}

func newDemoApp(d *demo, data string) (*demoApp, error) {
	side, err := newClient("http://"+data, "")
	return &demoApp{d: d, side: side, half: make(chan struct{}), known: map[string]receipt{}}, err
}

func (a *demoApp) accepted() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.known)
}

func (a *demoApp) ids() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make([]string, 0, len(a.known))
	for id := range a.known {
		ids = append(ids, id)
	}
	return ids
}

// posters send at the same time, each its own ordering keys, in order.
const posters = 4

// post sends all messages, and every tenth one twice.
func (a *demoApp) post(ctx context.Context) error {
	failed := make([]error, posters)
	var all sync.WaitGroup
	for p := range posters {
		all.Go(func() { failed[p] = a.postShare(ctx, p) })
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *demoApp) postShare(ctx context.Context, poster int) error {
	random := rand.New(rand.NewPCG(a.d.seed, uint64(poster)))
	pace := time.NewTicker(time.Second * posters / time.Duration(a.d.rate))
	defer pace.Stop()
	for number := poster; number < a.d.messages; number += posters {
		times := 1
		if random.IntN(10) == 0 {
			times = 2
		}
		for range times {
			if err := a.postOne(ctx, number); err != nil {
				return err
			}
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// orderingKey gives a third of the messages one of four keys a poster.
func orderingKey(number int) string {
	if n := number / posters; n%3 == 0 {
		return fmt.Sprintf("key-%d-%d", number%posters, n/3%4)
	}
	return ""
}

func demoBody(number int) []byte {
	return fmt.Appendf(nil, "message %d %s", number, strings.Repeat("·", number%50))
}

// postOne tries until the sidecar has answered.
func (a *demoApp) postOne(ctx context.Context, number int) error {
	header := http.Header{"Idempotency-Key": {fmt.Sprintf("order-%d", number)}}
	key := orderingKey(number)
	if key != "" {
		header.Set("Mq-Ordering-Key", key)
	}
	path := "/v1/topics/" + demoTopic + "/messages"
	for {
		a.tries.Add(1)
		r, err := a.side.do(ctx, http.MethodPost, path, header, strings.NewReader(string(demoBody(number))))
		switch {
		case err == nil && r.status/100 == 2:
			return a.remember(r, receipt{number, key})
		case err == nil && r.status != http.StatusServiceUnavailable:
			return fmt.Errorf("post message %d: %w", number, r.problem())
		}
		a.noAnswer.Add(1)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// remember keeps the receipt. A message that is known under another ID would be
// one that was stored twice.
func (a *demoApp) remember(r reply, is receipt) error {
	var answer struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil || answer.ID == "" {
		return fmt.Errorf("read the receipt %.100q: %w", r.body, err)
	}
	if r.header.Get("Idempotency-Replayed") == "true" {
		a.replayed.Add(1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if other, ok := a.known[answer.ID]; ok && other != is {
		a.wrong = append(a.wrong, fmt.Sprintf("messages %d and %d got the same ID %s", other.number, is.number, answer.ID))
	}
	a.known[answer.ID] = is
	if len(a.known) == a.d.messages/2 && !closed(a.half) {
		close(a.half)
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// byKey returns the IDs of each ordering key in the order of their numbers,
// which is the order in which they were accepted.
func (a *demoApp) byKey() map[string][]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string][]string{}
	for id, r := range a.known {
		if r.key != "" {
			all[r.key] = append(all[r.key], id)
		}
	}
	for _, ids := range all {
		slices.SortFunc(ids, func(x, y string) int { return a.known[x].number - a.known[y].number })
	}
	return all
}
