package sidecar_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// writtenAgo has the spool written as if that had been so long ago, with a
// message that has expired since.
func writtenAgo(t *testing.T, c config.Config, ago time.Duration) {
	t.Helper()
	dir := filepath.Join(c.Spool.Dir, "spool")
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), CloseWait: 2 * time.Minute, MemTableSize: 8 << 20, Magic: spool.FormatVersion, Owner: spool.Owner(nil)})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(t.Context(), db, spool.Options{Dir: dir, Now: func() time.Time { return time.Now().Add(-ago) }})
	if err != nil {
		t.Fatal(err)
	}
	m := message.Message{Topic: "t", Body: []byte("x"), TTL: time.Hour}
	if _, err := sp.Append(t.Context(), []spool.Draft{{Message: m}}); err != nil {
		t.Fatal(err)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A step of the wall clock is said until an operator confirms it; what has expired
// is a dead letter from then on.
func TestAStepOfTheClockIsSaidUntilItIsConfirmed(t *testing.T) {
	c := waiting(t)
	writtenAgo(t, c, 5*time.Hour)
	r := start(t, c)
	a := r.side.Addresses()
	until := func(what, at, text string) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			_, body := get(t, at)
			if strings.Contains(body, text) {
				return
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("%s says nothing of %s: %s", what, text, body)
			}
		}
	}
	until("/readyz", "http://"+a.Health+"/readyz?verbose", `{"name":"clock-step","is":true`)
	until("the metrics", "http://"+a.Health+"/metrics", `remora_degraded{reason="clock-step"} 1`)
	until("the metrics", "http://"+a.Health+"/metrics", "remora_spool_clock_step_seconds 1")
	until("the status", "http://"+a.Data[0]+"/v1/status", `"clock-step"`)
	until("the status", "http://"+a.Admin+"/v1/status", `"clock_step":{"by":"5h0m`)
	if dead := ledgerOf(t, r).Total.InSpool.Dead; dead != 0 {
		t.Fatalf("%d messages have expired", dead)
	}
	if status, body := change(t, "http://"+a.Admin+"/v1/clock/confirm"); status != 200 || !strings.Contains(body, `{"confirmed":true,"by":"`) {
		t.Fatalf("%d %s", status, body)
	}
	until("the metrics", "http://"+a.Health+"/metrics", `remora_spool_messages{state="dead"} 1`)
	until("the metrics", "http://"+a.Health+"/metrics", "remora_spool_clock_step_seconds 0")
	until("/readyz", "http://"+a.Health+"/readyz?verbose", `{"name":"clock-step","is":false`)
	if status, body := change(t, "http://"+a.Admin+"/v1/clock/confirm"); status != 200 || !strings.Contains(body, `{"confirmed":false}`) {
		t.Errorf("again: %d %s", status, body)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
