package sidecar

import (
	"context"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
)

// brokerWatch asks the brokers for their configuration, again and again, and tells it to
// all that decide by it: on the goroutine of run. They change nothing of it.
type brokerWatch struct {
	ask  func(ctx context.Context) ([]rocketmq.BrokerConfig, error)
	tell []func([]rocketmq.BrokerConfig, error)
}

const (
	// brokersEvery is how long a broker that has just joined, or was restarted with
	// another configuration, may confirm what is not kept, or be sent what it takes no
	// timer for.
	brokersEvery = 15 * time.Second
	// brokersWithin bounds one look.
	brokersWithin = 10 * time.Second
)

// run looks until ctx is done. Nothing waits for it.
func (w *brokerWatch) run(ctx context.Context) error {
	tick := time.NewTicker(brokersEvery)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *brokerWatch) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, brokersWithin)
	defer cancel()
	all, err := w.ask(asking)
	if ctx.Err() != nil {
		return // it did not fail: we are ending
	}
	for _, tell := range w.tell {
		tell(all, err)
	}
}

// watchBrokers begins to ask, if something is decided by what they say.
func (s *Sidecar) watchBrokers(ctx context.Context) error {
	w := &brokerWatch{}
	if len(s.parts.timers.topics) > 0 {
		w.tell = append(w.tell, s.parts.timers.hear)
	}
	if err := s.decideRetention(w); err != nil {
		return err
	}
	if len(w.tell) == 0 {
		return nil
	}
	inspector, err := rocketmq.NewInspector(rocketmq.ConsumerOptions{
		NameServers: s.cfg.Broker.RocketMQ.NameServers, Keys: s.secrets.broker.current,
	})
	if err != nil {
		return err
	}
	w.ask = inspector.Brokers
	s.parts.asking = s.parts.start(ctx, "broker watch", func(ctx context.Context) error {
		defer inspector.Close()
		return w.run(ctx)
	})
	return nil
}
