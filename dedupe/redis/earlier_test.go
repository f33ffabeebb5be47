package redis

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// Marks that an earlier version wrote, as hashes of Redis, are worth what they were:
// what was done is a repeat, a lease runs on, counts and windows stay.
func TestMarksOfAnEarlierVersion(t *testing.T) {
	redis := server.Redis(t)
	client := clientOf(t, redis)
	s := open(t, Options{URL: urlOf(redis), Window: time.Hour})
	const token, window = 1_764_000_000_123_456, 50 * time.Minute
	one, other := dedupe.Fingerprint{0xab, 1}, dedupe.Fingerprint{0xcd, 2}
	write := func(t *testing.T, held int, ends time.Duration, attempts int, effect dedupe.Fingerprint, done ...dedupe.Fingerprint) {
		t.Helper()
		var all string
		for _, f := range done {
			all += hex.EncodeToString(f[:])
		}
		name := nameOf(key)
		client.FlushAll(t.Context())
		client.HSet(t.Context(), name, "held", held, "claim", "00000000000000ff", "token", "1764000000123456",
			"ends", time.Now().Add(ends).UnixMilli(), "attempts", attempts, "effect", hex.EncodeToString(effect[:]), "done", all)
		if err := client.PExpire(t.Context(), name, window).Err(); err != nil {
			t.Fatal(err)
		}
	}
	begins := func(t *testing.T, f dedupe.Fingerprint, want dedupe.Mark, most time.Duration) dedupe.Mark {
		t.Helper()
		m, err := s.Begin(t.Context(), key, f, time.Minute)
		if err != nil || m.Verdict != want.Verdict || m.Attempt != want.Attempt || m.Conflict != want.Conflict {
			t.Errorf("%+v, %v, want %+v", m, err, want)
		}
		if left := time.Until(m.Until); left > most || left < most-20*time.Second {
			t.Errorf("%v are left of the lease, want %v", left, most)
		}
		return m
	}
	t.Run("done", func(t *testing.T) {
		write(t, 0, -time.Minute, 0, one, other, one)
		begins(t, one, dedupe.Mark{Verdict: dedupe.Repeat}, 0)
		begins(t, other, dedupe.Mark{Verdict: dedupe.Repeat}, 0)
		begins(t, dedupe.Fingerprint{3}, dedupe.Mark{Verdict: dedupe.Begun, Attempt: 1, Conflict: true}, time.Minute)
	})
	t.Run("held", func(t *testing.T) {
		write(t, 1, 5*time.Minute, 3, one, other)
		begins(t, one, dedupe.Mark{Verdict: dedupe.InProgress, Attempt: 3, Conflict: true}, 5*time.Minute)
		if left := client.PTTL(t.Context(), nameOf(key)).Val(); left > window || left < window-time.Minute {
			t.Errorf("%v are left of the window, want %v", left, window)
		}
		pass(t, client, 5*time.Minute)
		begins(t, one, dedupe.Mark{Verdict: dedupe.Begun, Attempt: 4, Conflict: true}, time.Minute)
	})
	t.Run("released", func(t *testing.T) {
		write(t, 0, time.Minute, 2, one)
		begins(t, one, dedupe.Mark{Verdict: dedupe.Begun, Attempt: 3}, time.Minute)
	})
	t.Run("its holder ends it", func(t *testing.T) {
		write(t, 1, time.Minute, 1, one)
		if err := s.Done(t.Context(), key, dedupe.Mark{Token: token}); err != nil {
			t.Error(err)
		}
		begins(t, one, dedupe.Mark{Verdict: dedupe.Repeat}, 0)
	})
	t.Run("without an end", func(t *testing.T) { // PERSIST, by hand
		write(t, 0, 0, 0, one, one)
		client.Persist(t.Context(), nameOf(key))
		begins(t, one, dedupe.Mark{Verdict: dedupe.Repeat}, 0)
		if left := client.PTTL(t.Context(), nameOf(key)).Val(); left > 24*time.Hour || left < 23*time.Hour {
			t.Errorf("%v are left of the window, want a day", left)
		}
	})
	t.Run("written again by another", func(t *testing.T) {
		write(t, 1, 5*time.Minute, 3, one, other)
		for range 2 {
			if err := client.Eval(t.Context(), convertSource, []string{nameOf(key)}).Err(); err != nil {
				t.Error(err)
			}
		}
		begins(t, one, dedupe.Mark{Verdict: dedupe.InProgress, Attempt: 3, Conflict: true}, 5*time.Minute)
	})
	t.Run("with a mark apart", func(t *testing.T) {
		write(t, 0, 0, 0, one, dedupe.Fingerprint{5}, dedupe.Fingerprint{6}, dedupe.Fingerprint{7}, one)
		effect := hex.EncodeToString(other[:])
		if err := client.HSet(t.Context(), "remora:dedupe:{"+nameOf(key)+"}"+effect, "done", effect).Err(); err != nil {
			t.Fatal(err)
		}
		begins(t, other, dedupe.Mark{Verdict: dedupe.Repeat}, 0)
	})
}

// A key that was never seen costs one command, and one that was a script more.
func TestFirstBeginIsOneCommand(t *testing.T) {
	s := open(t, Options{URL: urlOf(server.Redis(t))})
	count := &trips{}
	s.client.AddHook(count)
	if m := begin(t, s); m.Verdict != dedupe.Begun || count.commands.Load() != 1 {
		t.Errorf("%v after %d commands", m.Verdict, count.commands.Load())
	}
	if m := begin(t, s); m.Verdict != dedupe.InProgress || count.commands.Load() > 4 { // the server is told the script
		t.Errorf("%v after %d commands", m.Verdict, count.commands.Load())
	}
}
