package redis

import (
	"context"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// atPipelines has every pipeline go through do.
type atPipelines struct {
	do func(ctx context.Context, cmds []goredis.Cmder, next goredis.ProcessPipelineHook) error
}

func (atPipelines) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (atPipelines) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (a atPipelines) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error { return a.do(ctx, cmds, next) }
}

// twice asks the same once more before, and tells nobody what it was answered: as where
// the connection hung that a question first went over.
func twice(ctx context.Context, cmds []goredis.Cmder, next goredis.ProcessPipelineHook) error {
	copies := make([]goredis.Cmder, len(cmds))
	for i, c := range cmds {
		copies[i] = goredis.NewCmd(ctx, c.Args()...)
	}
	_ = next(ctx, copies) // the answers are lost
	return next(ctx, cmds)
}

// TestContractWithEveryQuestionAskedTwice: what has run, and whose answer is lost, runs
// once more, and means the same. Who holds a key is not made to wait for itself, and
// nothing is counted twice.
func TestContractWithEveryQuestionAskedTwice(t *testing.T) {
	holdsContract(t, func(t *testing.T, o Options) *Store {
		t.Helper()
		s := open(t, o)
		s.client.AddHook(atPipelines{twice})
		return s
	})
}

// meanwhile does something once, before the script is run.
func meanwhile(s *Store, hash string, do func()) {
	once := sync.OnceFunc(do)
	s.client.AddHook(atPipelines{func(ctx context.Context, cmds []goredis.Cmder, next goredis.ProcessPipelineHook) error {
		for _, c := range cmds {
			if args := c.Args(); len(args) > 1 && args[1] == hash {
				once()
			}
		}
		return next(ctx, cmds)
	}})
}

// TestMarkThatEndsWhileItIsLookedAtIsBegun: the key had a mark when it was to be set, and
// has none when the script looks: its window has ended.
func TestMarkThatEndsWhileItIsLookedAtIsBegun(t *testing.T) {
	for name, hash := range map[string]string{"before it is looked at": lookScript.hash, "before it is begun": beginScript.hash} {
		t.Run(name, func(t *testing.T) {
			redis := server.Redis(t)
			client := clientOf(t, redis)
			s := open(t, Options{URL: urlOf(redis)})
			if err := s.Release(t.Context(), key, begin(t, s), true); err != nil {
				t.Fatal(err)
			}
			meanwhile(s, hash, func() { client.Del(t.Context(), nameOf(key)) })
			m := begin(t, s)
			if hash == lookScript.hash && (m.Verdict != dedupe.Begun || m.Attempt != 1) {
				t.Errorf("%v, attempt %d; want begun, 1", m.Verdict, m.Attempt)
			}
			if hash == beginScript.hash && m.Verdict != dedupe.InProgress {
				t.Errorf("%v; want to look again", m.Verdict)
			}
		})
	}
}

// TestWhoWasFasterIsWaitedFor: another sidecar begins between the look and the begin.
// The answer tells how long its lease is.
func TestWhoWasFasterIsWaitedFor(t *testing.T) {
	redis := server.Redis(t)
	s, other := open(t, Options{URL: urlOf(redis)}), open(t, Options{URL: urlOf(redis)})
	if err := s.Release(t.Context(), key, begin(t, s), true); err != nil {
		t.Fatal(err)
	}
	var faster dedupe.Mark
	var err error
	meanwhile(s, beginScript.hash, func() { faster, err = other.Begin(t.Context(), key, effect, time.Minute) })
	m := begin(t, s)
	if err != nil || faster.Verdict != dedupe.Begun || m.Verdict != dedupe.InProgress {
		t.Fatalf("%v, %v, and %v", faster.Verdict, err, m.Verdict)
	}
	if left := time.Until(m.Until); left < 50*time.Second {
		t.Errorf("told to wait %v for a lease of a minute", left)
	}
	if err := other.Done(t.Context(), key, faster); err != nil {
		t.Errorf("who was faster is fenced: %v", err)
	}
}

// TestMarkDoesNotGrow with the contents that are done: what it has no room for is apart.
func TestMarkDoesNotGrow(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis)})
	for n := range byte(3 * maxDone) {
		m, err := s.Begin(t.Context(), key, dedupe.Fingerprint{n}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Done(t.Context(), key, m); err != nil {
			t.Fatal(err)
		}
	}
	const head = 46 // all but the contents
	if size := clientOf(t, redis).StrLen(t.Context(), nameOf(key)).Val(); size != head+maxDone*int64(len(dedupe.Fingerprint{})) {
		t.Errorf("the mark has %d bytes, with room for %d contents", size, maxDone)
	}
}
