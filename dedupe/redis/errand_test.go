package redis

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

const together = 20

// begunKeys are so many, begun.
func begunKeys(t *testing.T, s *Store) (keys []dedupe.Key, marks []dedupe.Mark) {
	t.Helper()
	for i := range together {
		k := dedupe.Key{Scope: key.Scope, Key: fmt.Sprintf("together-%d", i)}
		m, err := s.Begin(t.Context(), k, effect, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		keys, marks = append(keys, k), append(marks, m)
	}
	return keys, marks
}

// finishTogether finishes them in one trip, and returns what each was answered.
func finishTogether(t *testing.T, redis *server.Server, s *Store, keys []dedupe.Key, marks []dedupe.Mark) (errs []error, commands int64) {
	t.Helper()
	count := &trips{}
	s.client.AddHook(count)
	redis.Stall()
	defer redis.Continue()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.Begin(t.Context(), dedupe.Key{Key: "under way"}, effect, time.Minute); err != nil {
			t.Error(err)
		}
	})
	waitUntil(t, "a trip is under way", func() bool { return count.sent.Load() == 1 })
	errs = make([]error, len(keys))
	for i := range keys {
		all.Go(func() { errs[i] = s.Done(t.Context(), keys[i], marks[i]) })
	}
	waitUntil(t, "they wait for the next one", func() bool { return s.pipe.waits() == len(keys) })
	redis.Continue()
	all.Wait()
	return errs, count.commands.Load() - 1
}

func wantRepeats(t *testing.T, s *Store, keys []dedupe.Key) {
	t.Helper()
	for _, k := range keys {
		if m, err := s.Begin(t.Context(), k, effect, time.Minute); err != nil || m.Verdict != dedupe.Repeat {
			t.Errorf("%s: %v, %v, want a repeat", k.Key, m.Verdict, err)
		}
	}
}

// TestDoneMarksShareACommand, and each gets its own answer: one is fenced, and one is
// of an earlier version, which takes two questions more.
func TestDoneMarksShareACommand(t *testing.T) {
	redis := server.Redis(t)
	client := clientOf(t, redis)
	s := open(t, Options{URL: urlOf(redis), Timeout: 30 * time.Second})
	keys, marks := begunKeys(t, s)
	const fenced, earlier = 3, 7
	marks[fenced].Token++
	name := nameOf(keys[earlier])
	client.Del(t.Context(), name)
	marks[earlier].Token = 1_764_000_000_123_456
	client.HSet(t.Context(), name, "held", 1, "token", "1764000000123456", "ends", time.Now().Add(time.Minute).UnixMilli(),
		"attempts", 1, "effect", fmt.Sprintf("%x", effect[:]), "done", "")
	if err := client.PExpire(t.Context(), name, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	warm(t, s)
	errs, commands := finishTogether(t, redis, s, keys, marks)
	for i, err := range errs {
		if i == fenced && !errors.Is(err, dedupe.ErrFenced) || i != fenced && err != nil {
			t.Errorf("%s: %v", keys[i].Key, err)
		}
	}
	if commands > 1+4 { // convert.lua and done.lua again, either of which may be new to the server
		t.Errorf("%d marks took %d commands, want one", together, commands)
	}
	wantRepeats(t, s, append(keys[:fenced:fenced], keys[fenced+1:]...))
}

// warm has the server know the script.
func warm(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Done(t.Context(), key, begin(t, s)); err != nil {
		t.Fatal(err)
	}
}

// TestDoneMarksWithoutTheScript: it is sent whole.
func TestDoneMarksWithoutTheScript(t *testing.T) {
	redis := server.Redis(t)
	client := clientOf(t, redis)
	s := open(t, Options{URL: urlOf(redis), Timeout: 30 * time.Second})
	keys, marks := begunKeys(t, s)
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	errs, commands := finishTogether(t, redis, s, keys, marks)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if commands != 2 {
		t.Errorf("%d commands, want EVALSHA and EVAL", commands)
	}
	wantRepeats(t, s, keys)
}

// TestDoneMarksOfACluster: it takes keys of one slot at a time, so each has a command
// of its own, and from then on none is sent in vain.
func TestDoneMarksOfACluster(t *testing.T) {
	redis := server.Redis(t, "--cluster-enabled", "yes")
	client := clientOf(t, redis)
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the cluster is up", func() bool {
		return client.Set(t.Context(), "x", 1, 0).Err() == nil
	})
	s := open(t, Options{URL: urlOf(redis), Timeout: 30 * time.Second})
	warm(t, s)
	for _, want := range []int64{1 + together, together} {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		keys, marks := begunKeys(t, s)
		errs, commands := finishTogether(t, redis, s, keys, marks)
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if commands != want {
			t.Errorf("%d commands, want %d", commands, want)
		}
		wantRepeats(t, s, keys)
	}
}
