package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/test/server"
)

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	proxy := server.NewProxy(t, server.Redis(t))
	dedupetest.LostAnswers(t, open(t, Options{URL: "redis://" + proxy.Addr()}), proxy)
}

func TestLeaseOfALostAnswer(t *testing.T) {
	redis := server.Redis(t)
	client, proxy := clientOf(t, redis), server.NewProxy(t, redis)
	s := open(t, Options{URL: "redis://" + proxy.Addr()})
	dedupetest.LeaseOfALostAnswer(t, s, proxy, func(d time.Duration) { pass(t, client, d) })
}

// What was answered for is there after kill -9, as often as that happens.
func TestDoneSurvivesKills(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis)})
	for round := range 5 {
		recorded := dedupetest.RecordUntilKilled(t, s, redis.Kill, round)
		redis.Start()
		for _, k := range recorded {
			if m := insist(t, s, k); m.Verdict != dedupe.Repeat {
				t.Fatalf("round %d: %s was recorded: %v", round, k.Key, m.Verdict)
			}
		}
	}
}

// insist begins as soon as the server is there: the library does not dial for a
// second after many dials have failed.
func insist(t *testing.T, s *Store, k dedupe.Key) dedupe.Mark {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m, err := s.Begin(t.Context(), k, effect, time.Minute)
		if err == nil {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestDownIsUnavailable(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis), Timeout: 3 * time.Second})
	m := begin(t, s)
	redis.Kill()
	if _, err := s.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || !s.Failing() {
		t.Errorf("begin: %v", err)
	}
	if err := s.Done(t.Context(), key, m); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Errorf("done: %v", err)
	}
	redis.Start()
	insist(t, s, dedupe.Key{Key: "another"})
	if err := s.Done(t.Context(), key, m); err != nil || s.Failing() {
		t.Errorf("done, back again: %v", err)
	}
	redis.Stall()
	defer redis.Continue()
	if _, err := s.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Errorf("begin at one that hangs: %v", err)
	}
}

// A server that is short of memory refuses, and nothing is taken for handled.
func TestFullIsUnavailable(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis)})
	if err := clientOf(t, redis).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || m.Verdict != dedupe.InProgress {
		t.Errorf("begin: %v, %v", m.Verdict, err)
	}
}

func TestForgottenScriptsAreSentAgain(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis)})
	m := begin(t, s)
	if err := clientOf(t, redis).ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Done(t.Context(), key, m); err != nil {
		t.Error(err)
	}
}

// A mark ends by itself, a window after it was last changed.
func TestMarkLivesForTheWindow(t *testing.T) {
	redis := server.Redis(t)
	client := clientOf(t, redis)
	s := open(t, Options{URL: urlOf(redis), Window: time.Hour})
	hash := key.Hash()
	name := fmt.Sprintf("%s%x", prefix, hash)
	refreshed := func(by string) {
		t.Helper()
		left, err := client.PTTL(t.Context(), name).Result()
		if err != nil || left < 59*time.Minute || left > time.Hour {
			t.Errorf("%s: %v left of 1h, %v", by, left, err)
		}
		pass(t, client, 10*time.Minute)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := begin(t, s)
	refreshed("begin")
	must(s.Extend(t.Context(), key, m, time.Minute))
	refreshed("extend")
	must(s.Release(t.Context(), key, m, true))
	refreshed("release")
	m = begin(t, s)
	must(s.Forget(t.Context(), key, m))
	refreshed("forget")
	m = begin(t, s)
	must(s.Done(t.Context(), key, m))
	refreshed("done")
	begin(t, s)
	if left := client.PTTL(t.Context(), name).Val(); left > 50*time.Minute {
		t.Errorf("a repeat made the window longer: %v are left", left)
	}
}

// Who holds a mark that the server has lost is fenced by the next one.
func TestLostMarkFencesItsHolder(t *testing.T) {
	redis := server.Redis(t)
	s := open(t, Options{URL: urlOf(redis)})
	former := begin(t, s)
	if err := clientOf(t, redis).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if m := begin(t, s); m.Verdict != dedupe.Begun || m.Token == former.Token {
		t.Errorf("%+v after %+v", m, former)
	}
	if err := s.Done(t.Context(), key, former); !errors.Is(err, dedupe.ErrFenced) {
		t.Errorf("done: %v, want fenced", err)
	}
}

func TestBadURLsAreNotShown(t *testing.T) {
	for _, url := range []string{"", "redis://u:geheim%zz@h", "http://u:geheim@h", "redis://u:geheim@h:port", "redis://:geheim@h/x?y=z", "geheim"} {
		s, err := Open(Options{URL: url})
		if err == nil {
			_ = s.Close()
			t.Errorf("%q is taken", url)
		} else if strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "rediss://") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := Open(Options{URL: "redis://h", Window: time.Millisecond}); err == nil {
		t.Error("a window of 1ms is taken")
	}
}
