package sidecar

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// withTopics is a sidecar whose spool has a message of each of n topics: topic-0 and so on.
func withTopics(t *testing.T, n int) *Sidecar {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(t.TempDir(), "db"), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(t.Context(), db, spool.Options{Dir: t.TempDir(), MaxTopics: n})
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(sp.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	const each = 500
	for from := 0; from < n; from += each {
		var drafts []spool.Draft
		for k := from; k < min(from+each, n); k++ {
			drafts = append(drafts, spool.Draft{Message: message.Message{Topic: fmt.Sprint("topic-", k), Body: []byte("x")}})
		}
		if _, err := sp.Append(t.Context(), drafts); err != nil {
			t.Fatal(err)
		}
	}
	s := &Sidecar{conditions: admin.NewConditions()}
	s.cfg.Spool.SyncTimeout = 60 * config.Second
	s.spool.Store(sp)
	return s
}

// allocated is the least that a call was seen to allocate, in bytes: others allocate, too.
func allocated(times int, do func()) (least uint64) {
	var before, after runtime.MemStats
	for n := range times {
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; n == 0 || took < least {
			least = took
		}
	}
	return least
}

// Who pauses a topic, or resumes it, is told of that one, and no other is read for it.
func TestDecisionOfATopicReadsNoOther(t *testing.T) {
	const topics = 5000
	s := withTopics(t, topics)
	for _, want := range []string{"paused", "running"} {
		decide := map[string]func(context.Context, string) (any, error){"paused": s.pauseTopic, "running": s.resumeTopic}[want]
		took := allocated(20, func() {
			got, err := decide(t.Context(), "topic-7")
			if one, ok := got.(Topic); err != nil || !ok || one.Topic != "topic-7" || one.State != want || one.Pending != 1 {
				t.Fatalf("%s: %+v, %v", want, got, err)
			}
		})
		if most := uint64(topics * 20); took > most {
			t.Errorf("%s: %d bytes are allocated, want at most %d for one of %d topics", want, took, most, topics)
		}
	}
}
