package embedded

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

func keys(t *testing.T, b *Broker, prefix string) (n int) {
	t.Helper()
	err := b.db.Scan(kv.Scan{Prefix: []byte(prefix), KeysOnly: true}, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRetentionTakesWhatEveryGroupHasPassed(t *testing.T) {
	b := open(t, Options{})
	for _, group := range []string{"g", "h"} {
		s := sub()
		s.Group = group
		r := consume(t, b, s, nil)
		eventually(t, b, "joined", func(st Stats) bool { _, ok := st.Groups[group]; return ok })
		r.stop()
	}
	for n := range 600 { // more than one commit of the retention
		if n == 100 {
			big := msg(1000)
			big.Body = make([]byte, 1<<20)
			send(t, b, big)
		}
		if n%50 == 0 {
			send(t, b, msgs(n, n+50)...)
		}
	}
	tomorrow := time.Now().Add(defaultRetention + time.Hour)
	trim := func(at time.Time, kept int64) {
		t.Helper()
		if err := b.trim(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats().Topics["orders"]; s.Kept != kept || s.Stored != 601 {
			t.Fatalf("stats = %+v, want %d kept", s, kept)
		}
	}
	drain := func(group string) {
		s := sub()
		s.Group = group
		r := consume(t, b, s, nil)
		r.take(601)
		r.stop()
	}
	trim(tomorrow, 601)
	drain("g")
	trim(tomorrow, 601) // h has not seen any
	drain("h")
	trim(time.Now(), 601) // too young
	trim(tomorrow, 0)
	for _, prefix := range []string{entryPrefix, copiesPrefix, chunkPrefix, unitPrefix} {
		if n := keys(t, b, prefix); n != 0 {
			t.Errorf("%d keys are left under %s", n, prefix)
		}
	}
	if s := b.Stats().Topics["orders"]; s.Bytes != 0 {
		t.Errorf("%d bytes are counted", s.Bytes)
	}

	b = reopen(t, b)
	if c := send(t, b, msg(9999))[0]; c.Offset == 0 {
		t.Error("offsets began again")
	}
	r := consume(t, b, sub(), nil)
	if d := r.next(); d.ID != msg(9999).ID {
		t.Errorf("delivered %s", d.ID)
	}
	r.stop()
}

func TestRetentionBySizeTakesTheOldest(t *testing.T) {
	b := open(t, Options{Retention: Retention{Bytes: 10_000}})
	for n := range 30 {
		m := msg(n)
		m.Body = make([]byte, 900)
		send(t, b, m)
	}
	if err := b.trim(t.Context(), time.Now()); err != nil { // no group ever came
		t.Fatal(err)
	}
	s := b.Stats().Topics["orders"]
	if s.Bytes > 10_000 || s.Bytes < 8_000 {
		t.Errorf("%d bytes are left, want just below 10000", s.Bytes)
	}
	r := consume(t, b, sub(), nil)
	seen := r.take(int(s.Kept))
	for n := 30 - int(s.Kept); n < 30; n++ {
		if seen[msg(n).ID] != 1 {
			t.Errorf("message %d is gone, an older one is not: %v", n, seen)
		}
	}
	r.stop()
}
