package rocketmq

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// members are two of a group in one process, one after the other, and their receiver.
type members struct {
	t            *testing.T
	former, next *acker
	leave, stop  context.CancelFunc // the former member; the consumer
	answer       chan error         // of the receiver, one a call
	calls, cut   int                // of it, and those that were cut short
}

func newMembers(t *testing.T) *members {
	m := &members{t: t, answer: make(chan error)}
	ctx, stop := context.WithCancel(t.Context())
	r := newReceivers(ctx, 1, m.receive)
	before, leave := context.WithCancel(r.ctx)
	sub := broker.Subscription{Topic: "t", Group: "g"}
	m.former, m.next, m.leave, m.stop = newAcker(before, sub, r, testLog(t)), newAcker(r.ctx, sub, r, testLog(t)), leave, stop
	return m
}

func (m *members) receive(ctx context.Context, d *message.Delivery) error {
	m.calls++
	d.Park()
	select {
	case err := <-m.answer:
		return err
	case <-ctx.Done():
		m.cut++
		return ctx.Err()
	}
}

// ends wants a callback to have ended, acked or not.
func (m *members) ends(name string, result chan consumer.ConsumeResult, ended chan struct{}, acked bool) {
	m.t.Helper()
	synctest.Wait()
	select {
	case <-ended:
	default:
		m.t.Fatalf("%s goes on", name)
	}
	if got := len(result) == 1; got != acked {
		m.t.Errorf("%s: acked %v, want %v", name, got, acked)
	}
}

// What is at the receiver when other keys take another member of the group is not cut
// short, and not delivered once more beside that.
func TestDeliveriesOutliveTheirMember(t *testing.T) {
	for name, tc := range map[string]struct {
		calls, cut int // of the receiver
		run        func(m *members)
	}{
		"its member is there: what comes again is delivered again": {2, 0, func(m *members) {
			for _, name := range []string{"the first", "the same again"} {
				result, ended := callback(m.former, pulled("x"))
				m.answer <- nil
				m.ends(name, result, ended, true)
			}
		}},
		"it is done while its copy waits": {1, 0, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			second, secondEnded := callback(m.next, pulled("x"))
			m.answer <- nil
			m.ends("the first", first, firstEnded, true)
			m.ends("its copy", second, secondEnded, true)
		}},
		"it is done before its copy comes": {1, 0, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			m.answer <- nil
			m.ends("the first", first, firstEnded, true)
			second, secondEnded := callback(m.next, pulled("x"))
			m.ends("its copy", second, secondEnded, true)
		}},
		"it fails, and its copy is delivered": {2, 0, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			second, secondEnded := callback(m.next, pulled("x"))
			m.answer <- errors.New("against the contract")
			m.ends("the first", first, firstEnded, false)
			m.answer <- nil
			m.ends("its copy", second, secondEnded, true)
		}},
		"the consumer stops": {1, 1, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			second, secondEnded := callback(m.next, pulled("x"))
			synctest.Wait()
			m.former.receivers.close()
			m.ends("the first", first, firstEnded, false)
			m.ends("its copy", second, secondEnded, false)
		}},
		"another message is at its offset": {2, 0, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			other := pulled("y")
			other.StoreTimestamp = 1
			second, secondEnded := callback(m.next, other)
			synctest.Wait()
			m.answer <- nil
			m.answer <- nil
			m.ends("the first", first, firstEnded, true)
			m.ends("the other", second, secondEnded, true)
		}},
		"what was not begun is left to the next": {1, 0, func(m *members) {
			m.former.receivers.slots <- struct{}{}
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			m.ends("the first", first, firstEnded, false)
			<-m.former.receivers.slots
			second, secondEnded := callback(m.next, pulled("x"))
			m.answer <- nil
			m.ends("its copy", second, secondEnded, true)
		}},
		"what was acked is forgotten in the end": {2, 0, func(m *members) {
			first, firstEnded := callback(m.former, pulled("x"))
			synctest.Wait()
			m.leave()
			m.answer <- nil
			m.ends("the first", first, firstEnded, true)
			time.Sleep(keptFor + time.Second)
			second, secondEnded := callback(m.next, pulled("x"))
			m.answer <- nil
			m.ends("its copy", second, secondEnded, true)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMembers(t)
				defer m.stop()
				tc.run(m)
				if m.calls != tc.calls || m.cut != tc.cut {
					t.Errorf("%d calls, %d cut short, want %d and %d", m.calls, m.cut, tc.calls, tc.cut)
				}
				time.Sleep(keptFor + time.Second)
				synctest.Wait()
				if n := len(m.next.receivers.all); n > 0 {
					t.Errorf("%d deliveries are remembered", n)
				}
			})
		})
	}
}

// When the keys of an ordered subscription change, what is at the receiver may end, and
// nothing behind it begins: another key of the queue neither.
func TestOrderedDeliveriesEndBeforeTheirMember(t *testing.T) {
	for name, ends := range map[string]bool{"it ends": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMembers(t)
				defer m.stop()
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				a := newAcker(ctx, broker.Subscription{Topic: "t", Group: "g", Ordered: true}, m.former.receivers, testLog(t))
				queue := primitive.MessageQueue{Topic: "t", BrokerName: "b"}
				a.order.locked(time.Now(), []primitive.MessageQueue{queue}, []primitive.MessageQueue{queue})
				first, behind, other := pulled("1", orderingProperty, "k"), pulled("2", orderingProperty, "k"), pulled("3", orderingProperty, "l")
				if _, err := a.fetched(&hooks.FilterMessageContext{MQ: &queue, Msg: []*primitive.MessageExt{first, behind, other}}); err != nil {
					t.Fatal(err)
				}
				result, ended := callbackOf(a, queue, first)
				callbackOf(a, queue, behind)
				synctest.Wait()
				began := time.Now()
				if ends {
					time.AfterFunc(time.Second, func() { m.answer <- nil })
				}
				(&member{acker: a}).rest(ctx)
				callbackOf(a, queue, other)
				synctest.Wait()
				if took := time.Since(began); took != map[bool]time.Duration{true: time.Second, false: restTime}[ends] {
					t.Errorf("it took %v", took)
				}
				leave()
				a.leave(true)
				m.ends("the first", result, ended, ends)
				if m.calls != 1 || m.cut != map[bool]int{true: 0, false: 1}[ends] {
					t.Errorf("%d calls, %d cut short", m.calls, m.cut)
				}
			})
		})
	}
}
