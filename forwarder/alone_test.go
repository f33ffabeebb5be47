package forwarder_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
)

// oneQueue is a broker whose topics have one queue each.
type oneQueue struct{ *producer }

func (oneQueue) Queues(context.Context, string) []string { return []string{"b/0"} }
func (oneQueue) Instead(string, string) string           { return "" }
func (oneQueue) Serves(string, string) bool              { return true }

func (q oneQueue) SendTo(ctx context.Context, _ string, msgs []*message.Message) ([]message.Confirmation, error) {
	return q.Send(ctx, msgs)
}

// failing is a broker that answers SYSTEM_ERROR where bad says so, and how often it was
// sent each message.
func failing(bad func(msgs []*message.Message) bool) (p *producer, sent map[message.ID]int) {
	sent = map[message.ID]int{}
	return &producer{answer: func(msgs []*message.Message) *broker.SendError {
		for _, m := range msgs {
			sent[m.ID]++
		}
		if bad(msgs) {
			return refuse(message.OutcomeUnknown, "SYSTEM_ERROR")
		}
		return nil
	}}, sent
}

func hasPoison(msgs []*message.Message) bool { return slices.ContainsFunc(msgs, poisoned) }

// sentAtMost wants messages confirmed that were sent so often at most.
func (r *rig) sentAtMost(times int, sent map[message.ID]int, ids []message.ID) {
	r.t.Helper()
	for _, id := range ids {
		if got, err := r.Receipt(r.t.Context(), id); err != nil || got.State != message.StateConfirmed || sent[id] > times {
			r.t.Fatalf("sent %d times: %+v, %v", sent[id], got, err)
		}
	}
}

// A message at which the broker fails, whatever it is sent with, delays those that come
// later for a moment at most, and they are sent once: with or without ordering keys.
func TestMessageThatAlwaysFailsIsSentAlone(t *testing.T) {
	for name, key := range map[string]func(i int) string{
		"no keys": func(int) string { return "" },
		"keys":    func(i int) string { return fmt.Sprint("key-", i) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, sent := failing(hasPoison)
				r := open(t, p)
				r.forward(forwarder.Options{}, oneQueue{p})
				always := numbered(1, key(0), 0)
				fails := r.accept(append(always, numbered(3, key(1))...)...)[0]
				time.Sleep(5 * time.Minute)
				for range 300 {
					drafts := numbered(20, "")
					for i := range drafts {
						drafts[i].OrderingKey = key(i + 1)
					}
					ids := r.accept(drafts...)
					time.Sleep(500 * time.Millisecond)
					r.sentAtMost(1, sent, ids)
				}
				if got, err := r.Receipt(t.Context(), fails); err != nil || got.State.Settled() || got.Attempts < 10 {
					t.Errorf("what fails is given up, or not tried: %+v, %v", got, err)
				}
			})
		})
	}
}

// Where others always wait, as in a backlog, they are sent with it no more than twice.
func TestMessageThatAlwaysFailsTakesNoBacklogWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, perSecond = 6000, 200
		p, sent := failing(hasPoison)
		r := open(t, p, numbered(1, "", 0)...)
		var ids []message.ID
		for range messages / 1000 {
			ids = append(ids, r.accept(numbered(1000, "")...)...)
		}
		opts := forwarder.Options{Rates: map[string]float64{"orders": perSecond}}
		r.forward(opts, p)
		time.Sleep(2 * messages / perSecond * time.Second)
		r.sentAtMost(3, sent, ids)
	})
}

// Behind a message that is sent alone, those of its ordering key wait.
func TestMessageThatIsSentAloneKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 5
		down := true
		p, _ := failing(func([]*message.Message) bool { return down })
		drafts := numbered(100, "")
		for i := range drafts {
			drafts[i].OrderingKey = fmt.Sprint("key-", i%keys)
		}
		r := open(t, p, drafts...)
		r.forward(forwarder.Options{}, oneQueue{p})
		time.Sleep(10 * time.Minute)
		p.mu.Lock()
		down = false
		p.mu.Unlock()
		r.drainedWithin(time.Hour)
		last := map[string]uint64{}
		for _, m := range p.stored {
			if m.Seq < last[m.OrderingKey] {
				t.Errorf("number %d of %s came after %d", m.Seq, m.OrderingKey, last[m.OrderingKey])
			}
			last[m.OrderingKey] = m.Seq
		}
	})
}
