package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// probesWithin bounds how often two brokers are probed within a time: after
// 200 ms, 400 ms and so on up to 10 s, each half as long at worst.
func probesWithin(d time.Duration) (n int) {
	for wait := 100 * time.Millisecond; d > 0; wait = min(2*wait, 5*time.Second) {
		d -= wait
		n += 2
	}
	return n
}

// topicsOf are many: each would be tried again by itself.
func topicsOf(status string) (all []string) {
	for n := range 12 {
		all = append(all, fmt.Sprintf("%s-%d", status, n))
	}
	return all
}

// TestStoredWithoutSendOK: brokers that store each message and do not say
// SEND_OK get what was in flight when that began, and one message at a time,
// however much waits.
func TestStoredWithoutSendOK(t *testing.T) {
	for status, config := range map[string][][3]string{ // key, value, as it was
		"FLUSH_SLAVE_TIMEOUT": {{"slaveTimeout", "100", "3000"}, {"inSyncReplicas", "2", "1"}, {"brokerRole", "SYNC_MASTER", "ASYNC_MASTER"}},
		"FLUSH_DISK_TIMEOUT":  {{"syncFlushTimeout", "0", "5000"}},
	} {
		if status == "FLUSH_SLAVE_TIMEOUT" && !testscale.Long() {
			continue // broker/rocketmq has it in the short form
		}
		t.Run(status, func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			topics := topicsOf(status)
			w := newTrial(t, newScene(t), topics...)
			must(t, w.side.Start())
			posting := w.begin(ctx, topics[0])
			w.confirmed(ctx, t, 50)
			began := time.Now()
			var heals []func()
			for _, line := range config {
				heals = append(heals, w.configure(t, line[0], line[1], line[2]))
			}
			for _, topic := range topics {
				for n := range 4 {
					_, err := w.post(ctx, &sent{topic: topic, body: []byte{byte(n)}})
					must(t, err)
				}
			}
			pause(ctx, time.Duration(testscale.Between(1000, 60_000))*time.Millisecond)
			posting.end(t)
			for i := range heals {
				heals[len(heals)-1-i]()
			}
			lasted := time.Since(began)
			took := w.drained(ctx, t)
			w.judge(ctx, t)
			attempts := w.attempts(ctx, t, status)
			t.Logf("%s for %v: %d attempts, %d copies more than messages, with %d accepted; drained %v after the return",
				status, lasted.Round(time.Millisecond), attempts, w.repeats(), w.count(), took.Round(time.Millisecond))
			if most := len(w.Brokers)*maxInFlight + probesWithin(lasted); attempts == 0 || w.repeats() == 0 || w.repeats() > most {
				t.Errorf("%d copies more than messages after %d attempts that ended with %s; want some, and at most %d", w.repeats(), attempts, status, most)
			}
		})
	}
}
