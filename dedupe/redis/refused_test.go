package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// TestRefusedDoneMarksAnswerForNoOther: a server that takes no writes says so within the
// answer of a script. That is the answer of one mark, and of nothing that shares the
// trip: a Begin that took a number for its own would have the handler called without
// a mark.
func TestRefusedDoneMarksAnswerForNoOther(t *testing.T) {
	refuse := map[string][]any{
		"OOM":      {"config", "set", "maxmemory", "1"},
		"READONLY": {"replicaof", "127.0.0.1", "1"},
		"NOPERM":   {"acl", "setuser", "default", "-set"},
	}
	for name, command := range refuse {
		t.Run(name, func(t *testing.T) {
			redis := server.Redis(t)
			s := open(t, Options{URL: urlOf(redis), Timeout: 30 * time.Second})
			warm(t, s)
			keys, marks := begunKeys(t, s)
			marks[1].Token++
			if err := clientOf(t, redis).Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
			begin := func() error {
				_, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute)
				return err
			}
			errs := inOneTrip(t, redis, s,
				func() error { return s.Done(t.Context(), keys[0], marks[0]) },
				func() error { return s.Done(t.Context(), keys[1], marks[1]) },
				begin, begin)
			for i, want := range []error{dedupe.ErrUnavailable, dedupe.ErrFenced, dedupe.ErrUnavailable, dedupe.ErrUnavailable} {
				if !errors.Is(errs[i], want) {
					t.Errorf("call %d: %v, want %v", i, errs[i], want)
				}
			}
		})
	}
}

// inOneTrip makes the calls, in this order.
func inOneTrip(t *testing.T, redis *server.Server, s *Store, calls ...func() error) []error {
	t.Helper()
	redis.Stall()
	defer redis.Continue()
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.Begin(t.Context(), dedupe.Key{Key: "under way"}, effect, time.Minute) })
	waitUntil(t, "a trip is under way", func() bool { return s.pipe.underWay() == 1 && s.pipe.waits() == 0 })
	errs := make([]error, len(calls))
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
		waitUntil(t, "it waits for the next one", func() bool { return s.pipe.waits() == i+1 })
	}
	redis.Continue()
	all.Wait()
	return errs
}

// intruder answers the first SET of a pipeline with what another command was to get.
type intruder struct{}

func (intruder) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (intruder) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (intruder) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := next(ctx, cmds)
		if c, is := cmds[0].(*goredis.Cmd); is && c.Name() == "set" {
			c.SetVal(int64(1))
		}
		return err
	}
}

// TestOnlyOKBegins: whatever else a server answers, no handler is called for it.
func TestOnlyOKBegins(t *testing.T) {
	s := open(t, Options{URL: urlOf(server.Redis(t))})
	s.client.AddHook(intruder{})
	if m, err := s.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || m.Verdict != dedupe.InProgress {
		t.Errorf("%v, %v", m.Verdict, err)
	}
}
