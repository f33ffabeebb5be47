package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/message"
)

// client is rocketmq-client-go as an application uses it.
type client struct {
	rocketmq.Producer

	dressed atomic.Uint64 // messages
}

func newClient(nameServers []string) (*client, error) {
	rlog.SetLogLevel("error")
	p, err := producer.NewDefaultProducer(
		producer.WithNameServer(nameServers),
		producer.WithGroupName("bench"),
		producer.WithInstanceName(fmt.Sprintf("bench-%d", os.Getpid())),
	)
	if err != nil {
		return nil, err
	}
	return &client{Producer: p}, p.Start()
}

// plain leaves a message as it is: the broker finds it by its place alone.
func plain(*primitive.Message) {}

// dress gives a message the properties that the sidecar sends with each: its ID, of
// which the broker keeps an index, its origin and its number.
func (c *client) dress(m *primitive.Message) {
	n, spool := c.dressed.Add(1), message.SpoolID{1}
	m.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, message.NewID(spool, 1, n, time.Now()).String())
	m.WithProperty(message.PropOrigin, spool.String())
	m.WithProperty(message.PropTopicSeq, strconv.FormatUint(n, 10))
}

// send sends n messages in batches, so many at a time, and returns the messages
// a second.
func (c *client) send(ctx context.Context, atATime, batch, n int, prepare func(*primitive.Message)) (float64, error) {
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range atATime {
		group.Go(func() error {
			bodies := load.NewBodies(bodySize, i)
			for {
				from := int(taken.Add(int64(batch))) - batch
				if from >= n {
					return nil
				}
				if err := c.sendOnce(ctx, bodies, min(batch, n-from), prepare); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	return float64(n) / time.Since(began).Seconds(), err
}

func (c *client) sendOnce(ctx context.Context, bodies *load.Bodies, n int, prepare func(*primitive.Message)) error {
	msgs := make([]*primitive.Message, n)
	for i := range msgs {
		msgs[i] = primitive.NewMessage(oneTopic, bodies.Next())
		prepare(msgs[i])
	}
	result, err := c.SendSync(ctx, msgs...)
	if err != nil {
		return fmt.Errorf("send with client-go: %w", err)
	}
	if result.Status != primitive.SendOK {
		return fmt.Errorf("send with client-go: status %d", result.Status)
	}
	return nil
}
