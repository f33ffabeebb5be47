package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// trips counts the pipelines that are sent, and the commands in them.
type trips struct{ sent, commands atomic.Int64 }

func (*trips) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (*trips) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (c *trips) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		c.sent.Add(1)
		c.commands.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// waitUntil returns when is does.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain until " + what)
		}
	}
}

func (p *pipe) underWay() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trips
}

func (p *pipe) waits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// stalled is a store whose trips are all under way to a server that does not answer.
// go on has it answer, and waits for the calls.
func stalled(t *testing.T) (s *Store, count *trips, client *goredis.Client, call func(k string), goOn func()) {
	t.Helper()
	redis := server.Redis(t)
	client = clientOf(t, redis)
	s = open(t, Options{URL: urlOf(redis), Timeout: time.Minute})
	begin(t, s) // the script is known
	count = &trips{}
	s.client.AddHook(count)
	redis.Stall()
	resume := sync.OnceFunc(redis.Continue)
	t.Cleanup(resume)
	var calls sync.WaitGroup
	call = func(k string) {
		calls.Go(func() {
			if m, err := s.Begin(t.Context(), dedupe.Key{Key: k}, effect, time.Minute); err != nil || m.Verdict != dedupe.Begun {
				t.Errorf("%s: %v, %v", k, m.Verdict, err)
			}
		})
	}
	for i := range maxTrips {
		call(fmt.Sprintf("trip-%d", i))
		waitUntil(t, "each has a trip of its own", func() bool { return count.sent.Load() == int64(i+1) })
	}
	return s, count, client, call, func() { resume(); calls.Wait() }
}

func TestCallsShareTrips(t *testing.T) {
	s, count, _, call, goOn := stalled(t)
	const more = 3*maxAboard + 7
	for i := range more {
		call(fmt.Sprintf("more-%d", i))
	}
	waitUntil(t, "they wait", func() bool { return s.pipe.waits() == more })
	goOn()
	if sent, commands := count.sent.Load(), count.commands.Load(); sent != maxTrips+4 || commands != maxTrips+more {
		t.Errorf("%d commands in %d trips, want %d in %d", commands, sent, maxTrips+more, maxTrips+4)
	}
	waitUntil(t, "no trip is under way", func() bool { return s.pipe.underWay() == 0 })
}

// Who has given up before a trip began is not taken along.
func TestGivenUpIsNotSent(t *testing.T) {
	s, count, client, _, goOn := stalled(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := s.Begin(ctx, key, dedupe.Fingerprint{2}, time.Minute)
		failed <- err
	}()
	waitUntil(t, "it waits", func() bool { return s.pipe.waits() == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	goOn()
	if n := count.commands.Load(); n != maxTrips {
		t.Errorf("%d commands, want %d", n, maxTrips)
	}
	if n := client.DBSize(t.Context()).Val(); n != maxTrips+1 {
		t.Errorf("%d marks, want %d", n, maxTrips+1)
	}
}

// Who waits for a trip waits no longer than who is on one.
func TestWaitingForATripIsBounded(t *testing.T) {
	const timeout = 6 * time.Second
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis), Timeout: timeout})
	begin(t, s) // it is connected
	redis.Stall()
	t.Cleanup(redis.Continue)
	var calls sync.WaitGroup
	call := func(k string) {
		calls.Go(func() {
			began := time.Now()
			if _, err := s.Begin(t.Context(), dedupe.Key{Key: k}, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) {
				t.Errorf("%s: %v", k, err)
			}
			if took := time.Since(began); took > timeout*7/4 {
				t.Errorf("%s: %v", k, took)
			}
		})
	}
	call("under way")
	waitUntil(t, "it is", func() bool { return s.pipe.underWay() > 0 && s.pipe.waits() == 0 })
	call("behind it")
	calls.Wait()
}

// However many wait for trips to a server that hangs, none does for longer than the
// timeout: trips are late one after the other, and each takes few.
func TestWaitingBehindManyIsBounded(t *testing.T) {
	const timeout, batches = 2 * time.Second, 3 * lateAfter
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis), Timeout: timeout})
	begin(t, s) // it is connected
	redis.Stall()
	t.Cleanup(redis.Continue)
	var calls sync.WaitGroup
	began := time.Now()
	for i := range batches * maxAboard {
		calls.Go(func() {
			if _, err := s.Begin(t.Context(), dedupe.Key{Key: fmt.Sprint(i)}, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	calls.Wait()
	if took := time.Since(began); took > batches*timeout/lateAfter {
		t.Errorf("the last of them waited %v", took)
	}
}

// A question is asked twice at most: a server that is slow is not asked for more and more.
func TestAskedTwiceAtMost(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis), Timeout: time.Second})
	begin(t, s) // it is connected
	count := &trips{}
	s.client.AddHook(count)
	redis.Stall()
	t.Cleanup(redis.Continue)
	if _, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Error(err)
	}
	if n := count.commands.Load(); n > 2 {
		t.Errorf("it was asked %d times", n)
	}
	redis.Continue()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := s.pipe.underWay(); n != 0 { // each has ended once
		t.Errorf("%d trips are under way", n)
	}
}

// A trip that arrives just when it is found late is not: it has ended.
func TestArrivedIsNotLate(t *testing.T) {
	p := &pipe{trips: 1}
	q := &question{asked: 1, done: make(chan struct{})}
	one := &trip{aboard: []*question{q}}
	p.arrive(one, []*errand{{of: one.aboard, answer: "OK"}})
	p.isLate(one)
	if one.late || p.trips != 1 || q.answer != "OK" || len(p.waiting) > 0 {
		t.Errorf("late %v, %d trips, answered %v, %d wait", one.late, p.trips, q.answer, len(p.waiting))
	}
}
