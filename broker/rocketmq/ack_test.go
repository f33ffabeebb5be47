package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// callback calls handle as the library does. returned is closed when the
// goroutine ends, result is what it returned, if it did.
func callback(a *acker, msgs ...*primitive.MessageExt) (result chan consumer.ConsumeResult, ended chan struct{}) {
	return callbackOf(a, primitive.MessageQueue{}, msgs...)
}

func callbackOf(a *acker, queue primitive.MessageQueue, msgs ...*primitive.MessageExt) (result chan consumer.ConsumeResult, ended chan struct{}) {
	result, ended = make(chan consumer.ConsumeResult, 1), make(chan struct{})
	go func() {
		defer close(ended)
		of := primitive.NewConsumeConcurrentlyContext()
		of.MQ = queue
		r, _ := a.handle(primitive.WithConcurrentlyCtx(context.Background(), of), msgs...)
		result <- r
	}()
	return result, ended
}

func newTestAcker(t *testing.T, receive broker.Receiver) (*acker, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	return newAcker(ctx, broker.Subscription{Topic: "t", Group: "g"}, newReceivers(ctx, 2, receive), testLog(t)), cancel
}

// The rule of this package: no result but success, and that only after nil.
func TestOnlyNilAcks(t *testing.T) {
	cancelled := errors.New("of a receiver")
	lz4 := pulled("x")
	lz4.SysFlag = 0x101
	for _, c := range []struct {
		name    string
		receive broker.Receiver
		msgs    []*primitive.MessageExt
		acks    bool
	}{
		{"nil", func(context.Context, *message.Delivery) error { return nil }, []*primitive.MessageExt{pulled("x")}, true},
		{"an error", func(context.Context, *message.Delivery) error { return cancelled }, []*primitive.MessageExt{pulled("x")}, false},
		{"a panic", func(context.Context, *message.Delivery) error { panic("x") }, []*primitive.MessageExt{pulled("x")}, false},
		{"blocked", func(ctx context.Context, _ *message.Delivery) error { <-ctx.Done(); return ctx.Err() }, []*primitive.MessageExt{pulled("x")}, false},
		{"not decodable", func(context.Context, *message.Delivery) error { return nil }, []*primitive.MessageExt{lz4}, false},
		{"two at once", func(context.Context, *message.Delivery) error { return nil }, []*primitive.MessageExt{pulled("x"), pulled("y")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, cancel := newTestAcker(t, c.receive)
				result, ended := callback(a, c.msgs...)
				time.Sleep(time.Hour)
				select {
				case <-ended:
					if !c.acks {
						t.Error("it did not hold")
					}
				default:
					if c.acks {
						t.Error("it held")
					}
				}
				cancel()
				<-ended
				switch {
				case c.acks != (len(result) == 1):
					t.Errorf("%d results", len(result))
				case c.acks && <-result != consumer.ConsumeSuccess:
					t.Error("not success")
				}
				a.calls.close()
			})
		})
	}
}

// A delivery that failed against the contract is tried again in place.
func TestFailedDeliveryIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 3
		a, cancel := newTestAcker(t, func(context.Context, *message.Delivery) error {
			if failures--; failures >= 0 {
				return fmt.Errorf("%d to go", failures)
			}
			return nil
		})
		defer cancel()
		if result, _ := callback(a, pulled("x")); <-result != consumer.ConsumeSuccess {
			t.Error("not acked")
		}
	})
}

func TestNothingIsDeliveredAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, cancel := newTestAcker(t, func(context.Context, *message.Delivery) error {
			t.Error("delivered")
			return nil
		})
		fetch := func() (passed bool) {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, err := a.fetched(&hooks.FilterMessageContext{})
				passed = err == nil
			}()
			<-ended
			return passed
		}
		if !fetch() {
			t.Error("nothing can be fetched before the end")
		}
		cancel()
		if fetch() {
			t.Error("fetched after the end")
		}
		if result, ended := callback(a, pulled("x")); len(result) != 0 {
			t.Error("a result")
		} else {
			<-ended
		}
		a.calls.close()
		result, ended := callback(a, pulled("x"))
		if <-ended; len(result) != 0 {
			t.Error("a result after close")
		}
	})
}
