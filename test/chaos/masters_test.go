package chaos

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestOneOfTwoMasters fails one of two masters under traffic, in each way, with
// batches of keys in flight that are given up and may arrive later. The other
// one takes, meanwhile, all that is not bound to the first by its key.
func TestOneOfTwoMasters(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		oneIsGone(t, "master-stopped", seconds(2, 20), func(w *trial) func() {
			restore := func() { must(t, w.Brokers[1].Resume()) }
			t.Cleanup(restore) // the cluster is the other tests', too
			must(t, w.Brokers[1].Pause())
			return restore
		})
	})
	t.Run("black-holed", func(t *testing.T) {
		oneIsGone(t, "master-black-holed", seconds(2, 20), func(w *trial) func() {
			restore := w.scene.brokers[1].swallow()
			pause(t.Context(), attemptTimeout)
			restore() // only together with the connections
			return w.scene.brokers[1].vanish(t)
		})
	})
	if !testscale.Long() {
		return // broker/rocketmq kills one in the short form
	}
	// Name servers forget a broker at once when its connection ends, and clients
	// ask them every 30 s.
	t.Run("killed", func(t *testing.T) {
		oneIsGone(t, "master-killed", seconds(2, 130), func(w *trial) func() {
			restore := func() { must(t, w.Brokers[1].Start()) }
			t.Cleanup(restore)
			must(t, w.Brokers[1].Kill())
			return restore
		})
	})
}

// seconds lie between those of the short form and those of the long one.
func seconds(short, long int) time.Duration {
	return time.Duration(testscale.Between(1000*short, 1000*long)) * time.Millisecond
}

// oneIsGone takes longer than several attempts.
func oneIsGone(t *testing.T, topic string, away time.Duration, fail func(*trial) (restore func())) {
	ctx := within(t, 6*time.Minute)
	w := newTrial(t, newScene(t), topic)
	must(t, w.side.Start())
	posting := w.begin(ctx, topic)
	await(ctx, t, func() error { return w.keysSeen(4) })

	gone := time.Now()
	restore := fail(w)
	pause(ctx, attemptTimeout) // what was in flight is given up
	w.othersGoOn(ctx, t, w.Brokers[1].Name())
	pause(ctx, away-time.Since(gone))
	posting.end(t)
	lasted := time.Since(gone)
	restore()
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("gone for %v: %d messages accepted and on the brokers, %d repeats, drained %v after the return",
		lasted.Round(time.Millisecond), w.count(), w.repeats(), took.Round(time.Millisecond))
}

// othersGoOn waits until the last message of each key, of now, is confirmed, but
// for the keys that are bound to a broker; and the last one without a key.
func (w *trial) othersGoOn(ctx context.Context, t *testing.T, but string) {
	t.Helper()
	began, bound := time.Now(), w.boundTo(but)
	if len(bound) == 0 {
		t.Fatalf("no key is bound to %s", but)
	}
	for lane, id := range w.last(w.topics[0]) {
		if bound[lane] {
			continue
		}
		w.reaches(ctx, t, id, "confirmed")
	}
	t.Logf("%d keys wait for %s; the others, and what has no key, went on within %v", len(bound), but, time.Since(began).Round(time.Millisecond))
}

// keysSeen reads what the brokers have, and fails until messages of so many keys
// are there.
func (w *trial) keysSeen(want int) error {
	if err := w.more(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range w.copies {
		seen[c.key] = true
	}
	if delete(seen, ""); len(seen) < want {
		return fmt.Errorf("messages of %d keys are on the brokers, want %d", len(seen), want)
	}
	return nil
}

// boundTo are the topic/keys whose messages have gone to the broker.
func (w *trial) boundTo(broker string) map[string]bool {
	bound := map[string]bool{}
	for _, c := range w.copies {
		if c.key != "" && strings.Contains(c.queue, "/"+broker+"/") {
			bound[w.accepted[c.id].lane()] = true
		}
	}
	return bound
}
