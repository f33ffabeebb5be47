package rocketmq

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The library's context.WithTimeout(ctx, 3 s) must end with ours.
func TestPatience(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 3 * time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ours, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			ctx := bePatient(ours)
			time.Sleep(100 * time.Millisecond) // it may come late to its wait
			theirs, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			<-theirs.Done()
			if took := time.Since(began); took != limit {
				t.Errorf("limit %v: done after %v", limit, took)
			}
		})
	}
}

func TestPatienceEndsWithTheCaller(t *testing.T) {
	ours, cancel := context.WithCancel(t.Context())
	theirs, stop := context.WithTimeout(bePatient(ours), 3*time.Second)
	defer stop()
	cancel()
	<-theirs.Done() // at once, or the test takes 3 s and fails
	if theirs.Err() != context.Canceled {
		t.Errorf("ended by %v", theirs.Err())
	}
}
