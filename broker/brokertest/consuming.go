package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// consuming is a consumer at work. Each delivery is handed to the test, which
// decides how its receiver returns.
type consuming struct {
	t        testing.TB
	consumer broker.Consumer
	arrivals chan *arrival
	cancel   context.CancelFunc
	ended    chan error
}

// arrival is a delivery whose receiver waits for the test.
type arrival struct {
	*message.Delivery
	ctx    context.Context
	result chan error
}

func (a *arrival) ack()           { a.result <- nil }
func (a *arrival) fail(err error) { a.result <- err }

// consume starts a consumer of its own for sub. It ends with the test, when
// nobody has stopped it before.
func (f *fixture) consume(sub broker.Subscription) *consuming {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &consuming{
		t:        f.t,
		consumer: f.backend.NewConsumer(f.t, sub),
		arrivals: make(chan *arrival, 1000),
		cancel:   cancel,
		ended:    make(chan error, 1),
	}
	go func() {
		c.ended <- c.consumer.Consume(ctx, c.receive)
		close(c.ended)
	}()
	f.t.Cleanup(c.stop)
	return c
}

// receive holds until the test decides, or the consumer stops: then the message
// is not acked.
func (c *consuming) receive(ctx context.Context, d *message.Delivery) error {
	a := &arrival{d, ctx, make(chan error, 1)}
	c.arrivals <- a
	select {
	case err := <-a.result:
		return err
	case <-ctx.Done():
	}
	select { // both: the test's word counts
	case err := <-a.result:
		return err
	default:
		return ctx.Err()
	}
}

// stop ends the consumer and waits for it. Held deliveries are not acked.
func (c *consuming) stop() {
	c.t.Helper()
	c.cancel()
	select {
	case err := <-c.ended:
		if err != nil {
			c.t.Errorf("consume: %v", err)
		}
	case <-time.After(patience):
		c.t.Fatal("consume did not return after its context was done")
	}
}

// next waits for a delivery, and leaves it held.
func (c *consuming) next() *arrival {
	c.t.Helper()
	select {
	case a := <-c.arrivals:
		return a
	case err := <-c.ended:
		c.t.Fatalf("consume returned: %v", err)
	case <-time.After(patience):
		c.t.Fatalf("no delivery in %v", patience)
	}
	return nil
}

// take waits for n deliveries and acks each.
func (c *consuming) take(n int) []*message.Delivery {
	c.t.Helper()
	var all []*message.Delivery
	for range n {
		a := c.next()
		a.ack()
		all = append(all, a.Delivery)
	}
	return all
}

// quiet fails the test when something is delivered within d.
func (c *consuming) quiet(d time.Duration) {
	c.t.Helper()
	select {
	case a := <-c.arrivals:
		c.t.Fatalf("unexpected delivery of %q, attempt %d", a.Body, a.Attempt)
	case <-time.After(d):
	}
}
