package dedupetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

var (
	theKey    = dedupe.Key{Scope: "cluster/orders/billing", Key: "order-1"}
	theEffect = dedupe.Fingerprint{1}
)

// Lossy is a way to the server on which answers can be lost.
type Lossy interface {
	Lose(bool)
	Lost() int64 // how many were
}

// LostAnswers tests a store behind way: an answer that is lost costs neither an
// attempt nor the wait for a lease of its own.
func LostAnswers(t *testing.T, s dedupe.Store, way Lossy) {
	t.Helper()
	begin := func(k dedupe.Key) dedupe.Mark {
		t.Helper()
		m, err := s.Begin(t.Context(), k, theEffect, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// Connect, and have the server know the operations: what is lost is their answers.
	first := dedupe.Key{Key: "first"}
	if err := s.Done(t.Context(), first, begin(first)); err != nil {
		t.Fatal(err)
	}
	way.Lose(true)
	if _, err := s.Begin(t.Context(), theKey, theEffect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || way.Lost() == 0 {
		t.Fatalf("begin: %v, %d answers lost", err, way.Lost())
	}
	way.Lose(false)
	if m, err := s.Begin(t.Context(), theKey, dedupe.Fingerprint{2}, time.Minute); err != nil || m.Verdict != dedupe.InProgress {
		t.Fatalf("other content: %v, %v", m.Verdict, err)
	}
	m := begin(theKey)
	if m.Verdict != dedupe.Begun || m.Attempt != 1 {
		t.Fatalf("again: %v, attempt %d; want begun, 1", m.Verdict, m.Attempt)
	}
	if second := begin(theKey); second.Verdict != dedupe.InProgress {
		t.Fatalf("another delivery of ours: %v", second.Verdict)
	}
	way.Lose(true)
	if err := s.Done(t.Context(), theKey, m); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Fatalf("done: %v", err)
	}
	way.Lose(false)
	if err := s.Done(t.Context(), theKey, m); err != nil {
		t.Fatalf("done again: %v", err)
	}
	if m := begin(theKey); m.Verdict != dedupe.Repeat {
		t.Errorf("after done: %v", m.Verdict)
	}
}

// LeaseOfALostAnswer tests that who begins, and was not told so before, has a whole lease:
// of the one that it was not told of little is left. advance lets time pass for the server.
func LeaseOfALostAnswer(t *testing.T, s dedupe.Store, way Lossy, advance func(time.Duration)) {
	t.Helper()
	const lease = time.Minute
	first := dedupe.Key{Key: "first"}
	if m, err := s.Begin(t.Context(), first, theEffect, lease); err != nil || s.Release(t.Context(), first, m, true) != nil {
		t.Fatal(err)
	}
	way.Lose(true)
	if _, err := s.Begin(t.Context(), theKey, theEffect, lease); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Fatalf("begin: %v", err)
	}
	way.Lose(false)
	advance(lease * 9 / 10)
	m, err := s.Begin(t.Context(), theKey, theEffect, lease)
	if left := time.Until(m.Until); err != nil || m.Verdict != dedupe.Begun || m.Attempt != 1 || left < lease/2 {
		t.Fatalf("again: %v, attempt %d, %v left of the lease, %v", m.Verdict, m.Attempt, left, err)
	}
	advance(lease / 2)
	if other, err := s.Begin(t.Context(), theKey, theEffect, lease); err != nil || other.Verdict != dedupe.InProgress {
		t.Fatalf("another delivery, half a lease later: %v, %v", other.Verdict, err)
	}
	if err := s.Done(t.Context(), theKey, m); err != nil {
		t.Errorf("done: %v", err)
	}
}

// RecordUntilKilled has many handle keys of their own until 100 were recorded as
// done, kills the server in the middle of that, and returns all that were.
func RecordUntilKilled(t *testing.T, s dedupe.Store, kill func(), round int) (recorded []dedupe.Key) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	enough, once := make(chan struct{}), sync.Once{}
	for h := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				k := dedupe.Key{Scope: theKey.Scope, Key: fmt.Sprint(round, "/", h, "/", i)}
				if err := handle(t, s, k); err != nil {
					once.Do(func() { close(enough) })
					return
				}
				mu.Lock()
				if recorded = append(recorded, k); len(recorded) == 100 {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	kill()
	all.Wait()
	if len(recorded) < 100 {
		t.Errorf("only %d were recorded", len(recorded))
	}
	return recorded
}

// handle returns why k could not be recorded as done, which should only be that
// there is no server.
func handle(t *testing.T, s dedupe.Store, k dedupe.Key) error {
	t.Helper()
	m, err := s.Begin(t.Context(), k, theEffect, time.Minute)
	if err == nil {
		err = s.Done(t.Context(), k, m)
	}
	if err != nil && !errors.Is(err, dedupe.ErrUnavailable) {
		t.Errorf("killed meanwhile: %v", err)
	}
	return err
}
