package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/embedded"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// refusing is a broker that refuses each batch with a poisoned message, and answers
// after a while.
type refusing struct {
	*producer
	answers time.Duration
}

func newRefusing(answers time.Duration) *refusing {
	return &refusing{answers: answers, producer: &producer{answer: func(msgs []*message.Message) *broker.SendError {
		if slices.ContainsFunc(msgs, poisoned) {
			return refuse(message.OutcomePermanent, "MESSAGE_ILLEGAL")
		}
		return nil
	}}}
}

func (p *refusing) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	time.Sleep(p.answers)
	return p.producer.Send(ctx, msgs)
}

// numbered are messages of a topic, of which some are poisoned.
func numbered(n int, key string, poison ...int) (all []spool.Draft) {
	for i := range n {
		d := draft("orders", fmt.Sprint(i), key)
		if slices.Contains(poison, i) {
			d.Tag = "poison"
		}
		all = append(all, d)
	}
	return all
}

// The message that is refused is found in a batch by halves. All others are sent once
// and in order.
func TestRefusedMessageIsFoundByHalves(t *testing.T) {
	for _, tt := range []struct {
		messages int
		poison   []int
		most     int // attempts
	}{
		{256, []int{0}, 17},
		{256, []int{255}, 17},
		{256, []int{100}, 17},
		{255, []int{127}, 17},
		{256, []int{3, 200}, 31},
		{3, []int{1}, 5},
		{2, []int{0, 1}, 3},
		{1, []int{0}, 1},
		{4, []int{0, 1, 2, 3}, 7},
		{4, nil, 1},
	} {
		for _, key := range []string{"", "k"} {
			t.Run(fmt.Sprintf("%v of %d, key %q", tt.poison, tt.messages, key), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newRefusing(0)
					r := open(t, p.producer, numbered(tt.messages, key, tt.poison...)...)
					r.forward(forwarder.Options{}, p)
					r.drainedWithin(time.Minute)
					time.Sleep(time.Second) // a drain does not wait until a dead letter is on disk
					var want []string
					for i := range tt.messages {
						if !slices.Contains(tt.poison, i) {
							want = append(want, fmt.Sprint(i))
						}
					}
					if got := r.bodies(); !slices.Equal(got, want) {
						t.Errorf("the broker has %v, want %v", got, want)
					}
					if n := r.Ledger().Total.InSpool.Dead; n != uint64(len(tt.poison)) {
						t.Errorf("%d dead letters, want %d", n, len(tt.poison))
					}
					if len(r.sizes) > tt.most {
						t.Errorf("%d attempts, of %v messages; at most %d are right", len(r.sizes), r.sizes, tt.most)
					}
				})
			})
		}
	}
}

// So it is with the embedded broker, which refuses a batch for a message without a body.
func TestRefusedMessageIsFoundAtTheEmbeddedBroker(t *testing.T) {
	b, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	drafts := numbered(256, "")
	drafts[77].Body = nil
	r := open(t, &producer{})
	ids := r.accept(drafts...)
	r.forward(forwarder.Options{}, b.Producer())
	r.drained()
	for i, id := range ids {
		want := 1
		if i == 77 {
			want = 0
		}
		if n, err := b.Copies(id); err != nil || n != want {
			t.Errorf("the broker has %d copies of message %d, want %d; %v", n, i, want, err)
		}
	}
	if got, err := r.Receipt(t.Context(), ids[77]); err != nil || got.State != message.StateDead {
		t.Errorf("%+v, %v", got, err)
	}
}

// While parts of a refused batch are sent again, some attempts fail, or leave their
// messages stored without SEND_OK. Of each key the order stays, only what was stored so
// has copies, and only what is poisoned dies.
func TestPartsOfARefusedBatchMeetFaults(t *testing.T) {
	testscale.Seeds(t, testscale.Between(30, 3000), func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		p, unsure := newRefusing(0), 0
		refuses := p.answer
		p.answer = func(msgs []*message.Message) *broker.SendError {
			err := refuses(msgs)
			switch {
			case err != nil:
				return err
			case rnd.IntN(4) == 0:
				return refuse(message.OutcomeRetryable, "SYSTEM_BUSY")
			case rnd.IntN(6) == 0:
				unsure += len(msgs)
				return &broker.SendError{Outcome: message.OutcomeUnknown, Status: "FLUSH_DISK_TIMEOUT", Stored: true}
			}
			return nil
		}
		drafts, poison := numbered(200, ""), 0
		for i := range drafts {
			if k := rnd.IntN(4); k > 0 {
				drafts[i].OrderingKey = fmt.Sprint("key-", k)
			}
			if rnd.IntN(40) == 0 {
				drafts[i].Tag = "poison"
				poison++
			}
		}
		r := open(t, p.producer, drafts...)
		r.forward(forwarder.Options{}, p)
		r.drainedWithin(time.Hour)
		time.Sleep(time.Second) // as above
		last, seen := map[string]uint64{}, map[message.ID]bool{}
		for _, m := range r.stored {
			if seen[m.ID] {
				continue
			}
			seen[m.ID] = true
			if m.OrderingKey != "" && m.Seq < last[m.OrderingKey] {
				t.Errorf("number %d of %s came after %d", m.Seq, m.OrderingKey, last[m.OrderingKey])
			}
			last[m.OrderingKey] = m.Seq
		}
		if len(seen) != len(drafts)-poison || r.Ledger().Total.InSpool.Dead != uint64(poison) {
			t.Errorf("%d of %d arrived, %d are dead, %d are poisoned", len(seen), len(drafts), r.Ledger().Total.InSpool.Dead, poison)
		}
		if copies := len(r.stored) - len(seen); copies > unsure {
			t.Errorf("%d copies, of %d messages whose outcome was unknown", copies, unsure)
		}
	})
}

// A forwarder that is stopped while it looks for the message that is refused begins no
// further attempt. What was not sent yet is kept.
func TestStopEndsTheSearchForARefusedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 256
		p := newRefusing(time.Second)
		var poison []int
		for i := 0; i < messages; i += 2 {
			poison = append(poison, i)
		}
		r := open(t, p.producer, numbered(messages, "", poison...)...)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := forwarder.New(forwarder.Options{AttemptTimeout: 2 * time.Second}, r.Spool, p, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20500 * time.Millisecond)
		stop()
		began := time.Now()
		running.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it went on for %v", took)
		}
		n := r.Ledger().Total.InSpool
		if n.InFlight > 0 || n.Pending == 0 || len(r.bodies())+int(n.Held()) != messages {
			t.Errorf("%d messages are sent; %+v", len(r.bodies()), n)
		}
	})
}
