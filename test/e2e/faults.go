package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// node is what can be killed: a sidecar, a broker, a name server.
type node interface {
	Name() string
	Kill() error
	Start() error
}

// victim is a node and the moment at which it is to die.
type victim struct {
	node
	at func(context.Context) error // returns when the moment has come
}

// outage kills victims one after the other, each at its moment, and starts all
// of them again after a while. It returns when they are ready.
func (h *history) outage(ctx context.Context, while time.Duration, victims []victim) error {
	for _, v := range victims {
		if err := v.at(ctx); err != nil {
			return fmt.Errorf("choose the moment to kill %s: %w", v.Name(), err)
		}
		if err := h.kill(v.node); err != nil {
			return err
		}
	}
	if err := pause(ctx, while); err != nil {
		return err
	}
	return startAll(victims)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// kill is kill -9, noted.
func (h *history) kill(n node) error {
	from := time.Now()
	err := n.Kill()
	h.note(func() { h.kills = append(h.kills, kill{n.Name(), from, time.Now()}) })
	return err
}

func startAll(victims []victim) error {
	failed := make(chan error, len(victims))
	var all sync.WaitGroup
	for _, v := range victims {
		all.Go(func() { failed <- v.Start() })
	}
	all.Wait()
	for range victims {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

// afterAccepts is the moment at which n more messages have been accepted.
func (h *history) afterAccepts(n int) func(context.Context) error {
	goal := h.look().accepted + n
	return func(ctx context.Context) error {
		return h.await(ctx, fmt.Sprintf("%d messages are accepted", goal), func() bool { return h.n.accepted >= goal })
	}
}

// afterCalls is the moment at which the handler was called n more times, or at
// which all of the round, which ends with so many accepts, was handled.
func (h *history) afterCalls(n, accepts int) func(context.Context) error {
	goal := h.look().calls + n
	return func(ctx context.Context) error {
		return h.await(ctx, fmt.Sprintf("the handler was called %d times", goal), func() bool {
			return h.n.calls >= goal || h.n.accepted >= accepts && h.allHandled()
		})
	}
}

// shuffled returns the sets in an order that follows from the seed.
func shuffled[S any](seed uint64, sets []S) []S {
	rand.New(rand.NewPCG(seed, 2)).Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	return sets
}
