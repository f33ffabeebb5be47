package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// refusing has one message, and takes nothing back until it is mended.
type refusing struct {
	broker.Consumer
	mended atomic.Bool
}

func (r *refusing) Consume(ctx context.Context, receive broker.Receiver) error {
	d := &message.Delivery{Identity: "a", Attempt: 1, Queue: "broker-a/0", Park: func() {}}
	return receive(ctx, d)
}

func (r *refusing) SendBack(context.Context, *message.Delivery, broker.SendBack) error {
	if r.mended.Load() {
		return nil
	}
	return errors.New("the group has retryQueueNums 0")
}

type rejecting struct{}

func (rejecting) Deliver(context.Context, *push.Call) push.Answer {
	return push.Answer{Disposition: push.DeadLetter, Status: 422}
}

// TestRefusedSendBackIsACondition: while a broker does not take a message back, a
// condition names the subscription, how many are held, and the broker's words; it ends
// when they are settled.
func TestRefusedSendBackIsACondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Sidecar{conditions: admin.NewConditions()}
		is := func() string {
			s.noteHeldUp()
			for _, one := range s.conditions.Active() {
				if one.Name == admin.SendBackRefused {
					return one.Detail
				}
			}
			return ""
		}
		one := &subscription{config: config.Subscription{Name: "billing", Topic: "orders", Group: "billing", Handler: "http://127.0.0.1:1/"}}
		consumer := &refusing{}
		gate := ackgate.New(ackgate.Options{Subscription: "billing"}, consumer, nil, rejecting{}, nil, nil, nil)
		one.gate.Store(gate)
		s.subs.add(one)
		if got := is(); got != "" {
			t.Errorf("at rest: %q", got)
		}
		ended := make(chan error)
		go func() { ended <- gate.Run(t.Context()) }()
		synctest.Wait()
		want := "billing: 1 of its messages are held, because a broker does not take them back; the last one: the group has retryQueueNums 0"
		if got, told := is(), one.tell(); got != want || told.State != "send_back_refused" || len(told.HeldUp) != 1 || fmt.Sprint(s.conditions.Degraded()) != "[send-back-refused]" {
			t.Errorf("%q, want %q; %+v, degraded for %q", got, want, told, s.conditions.Degraded())
		}
		consumer.mended.Store(true)
		time.Sleep(10 * time.Minute)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := is(); got != "" {
			t.Errorf("when it is settled: %q", got)
		}
	})
}

// mending rejects until it is mended.
type mending struct{ mended atomic.Bool }

func (m *mending) Deliver(context.Context, *push.Call) push.Answer {
	if m.mended.Load() {
		return push.Answer{Disposition: push.Done, Status: 200}
	}
	return push.Answer{Disposition: push.DeadLetter, Status: 422}
}

// TestOperatorHasWhatIsRefusedCalledAgain: a retry of a subscription has its handler called
// for what no broker takes back; a 200 ends that, and another name is none.
func TestOperatorHasWhatIsRefusedCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Sidecar{conditions: admin.NewConditions(), log: slog.New(slog.DiscardHandler)}
		one, handler := &subscription{config: config.Subscription{Name: "billing"}}, &mending{}
		gate := ackgate.New(ackgate.Options{Subscription: "billing"}, &refusing{}, nil, handler, nil, nil, nil)
		one.gate.Store(gate)
		s.subs.add(one)
		s.subs.becomeReady()
		ended := make(chan error)
		go func() { ended <- gate.Run(t.Context()) }()
		synctest.Wait()
		if held := one.tell(); held.State != "send_back_refused" {
			t.Errorf("before: %+v", held)
		}
		handler.mended.Store(true)
		if _, err := s.retry(t.Context(), "nobody"); err == nil {
			t.Error("a retry of nobody: no error")
		}
		if _, err := s.retry(t.Context(), "billing"); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if left := one.tell(); left.State != "running" || left.Held != 0 {
			t.Errorf("after: %+v", left)
		}
	})
}
