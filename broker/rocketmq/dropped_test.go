package rocketmq

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// dropped is the client library, where it drops a queue twice while the handler has one of
// its messages: the first copy that it fetches again waits for the handler, the second comes
// when that is done, and when nobody remembers the message any more.
type dropped struct {
	t      *testing.T
	called chan struct{} // by the handler
	goOn   chan struct{} // for the handler
	acked  int
}

func (d *dropped) Consume(ctx context.Context, receive broker.Receiver) error {
	r := newReceivers(ctx, 2, receive)
	defer r.close()
	a := newAcker(r.ctx, broker.Subscription{Topic: "t", Group: "g"}, r, testLog(d.t))
	results := [3]chan consumer.ConsumeResult{}
	ended := [3]chan struct{}{}
	results[0], ended[0] = callback(a, pulled("x"))
	<-d.called
	results[1], ended[1] = callback(a, pulled("x"))
	for late := time.Now().Add(time.Minute); !someoneWaits(r) && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	if !someoneWaits(r) {
		d.t.Error("the second does not wait for the first")
	}
	close(d.goOn)
	<-ended[0]
	<-ended[1]
	results[2], ended[2] = callback(a, pulled("x"))
	<-ended[2]
	for _, result := range results {
		d.acked += len(result)
	}
	return nil
}

func someoneWaits(r *receivers) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all {
		if one.over != nil {
			return true
		}
	}
	return false
}

func (d *dropped) SendBack(context.Context, *message.Delivery, broker.SendBack) error {
	return errors.New("nothing is sent back")
}

// Deliver is the handler: its first call takes until it may go on.
func (d *dropped) Deliver(ctx context.Context, _ *push.Call) push.Answer {
	select {
	case d.called <- struct{}{}:
	case <-ctx.Done():
	}
	<-d.goOn
	return push.Answer{Disposition: push.Done, Status: 200}
}

// A queue that the library drops twice may have a message delivered a second time, after it
// was handled: a repeat, which a dedupe store tells, so that the handler is not called.
func TestQueueThatIsDroppedTwice(t *testing.T) {
	for name, calls := range map[string]int{"with dedupe": 1, "without": 2} {
		t.Run(name, func(t *testing.T) {
			var store dedupe.Store
			if name == "with dedupe" {
				db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(t.TempDir(), "db"), MemTableSize: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				s, err := local.Open(db, local.Options{Window: time.Hour})
				if err != nil {
					t.Fatal(errors.Join(err, db.Close()))
				}
				defer func() {
					if err := errors.Join(s.Close(), db.Close()); err != nil {
						t.Error(err)
					}
				}()
				store = s
			}
			d := &dropped{t: t, called: make(chan struct{}, 3), goOn: make(chan struct{})}
			gate := ackgate.New(ackgate.Options{Subscription: "s", Scope: "s", Store: "local", Timeout: time.Minute}, d, store, d, nil, nil, nil)
			if err := gate.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(d.called) + 1; d.acked != 3 || got != calls {
				t.Errorf("%d calls, %d acked, want %d and 3", got, d.acked, calls)
			}
		})
	}
}
