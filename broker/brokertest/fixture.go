package brokertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// patience bounds every wait. It is long because a broker may take its time to
// give a group its queues.
const patience = 90 * time.Second

var serial atomic.Uint64

// spoolID tells messages of this process from those of other runs.
var spoolID = message.SpoolID(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))[3:])

// name makes a name that nothing else has, for a topic or a group.
func name(t testing.TB, what string) string {
	t.Helper()
	return fmt.Sprintf("%s-%s-%d", what, spoolID, serial.Add(1))
}

// newMessage has what every message needs.
func newMessage(topic, body string) *message.Message {
	now := time.Now()
	return &message.Message{
		ID:         message.NewID(spoolID, 1, serial.Add(1), now),
		AcceptedAt: now,
		Topic:      topic,
		Body:       []byte(body),
	}
}

func newMessages(topic string, n int) []*message.Message {
	all := make([]*message.Message, n)
	for i := range all {
		all[i] = newMessage(topic, strconv.Itoa(i))
	}
	return all
}

// fixture is what most cases need: a topic, a group and a producer.
type fixture struct {
	t        *testing.T
	backend  Backend
	producer broker.Producer
	topic    string
	group    string
}

func newFixture(t *testing.T, b Backend, queues int) *fixture {
	t.Helper()
	f := &fixture{t: t, backend: b, topic: name(t, "topic"), group: name(t, "group")}
	b.CreateTopic(t, f.topic, queues)
	f.producer = b.NewProducer(t)
	t.Cleanup(func() { closing(t, f.producer) })
	return f
}

func closing(t testing.TB, p broker.Producer) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Errorf("close producer: %v", err)
	}
}

// send fails the test unless the messages are confirmed.
func (f *fixture) send(msgs ...*message.Message) []message.Confirmation {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	confirmed, err := f.attempt(ctx, msgs...)
	if err != nil {
		f.t.Fatalf("send: %v", err)
	}
	return confirmed
}

// attempt sends by the fixture's producer.
func (f *fixture) attempt(ctx context.Context, msgs ...*message.Message) ([]message.Confirmation, error) {
	return attempt(ctx, f.producer, msgs...)
}

// attempt waits for its turn where a broker that failed is probed, and where one is
// busy for the moment, as it is on a busy machine: nothing was stored then.
func attempt(ctx context.Context, p broker.Producer, msgs ...*message.Message) ([]message.Confirmation, error) {
	for {
		confirmed, err := p.Send(ctx, msgs)
		if se := (*broker.SendError)(nil); !errors.As(err, &se) || se.Outcome != message.OutcomeRetryable || se.Parked || errors.Is(err, broker.ErrClosed) {
			return confirmed, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// sendOneByOne makes n messages and sends each alone.
func (f *fixture) sendOneByOne(n int) []*message.Message {
	f.t.Helper()
	msgs := newMessages(f.topic, n)
	for _, m := range msgs {
		f.send(m)
	}
	return msgs
}

func (f *fixture) subscription() broker.Subscription {
	return broker.Subscription{Name: f.group, Topic: f.topic, Group: f.group, Concurrency: 8}
}

func bodies(deliveries []*message.Delivery) string {
	all := make([]string, len(deliveries))
	for i, d := range deliveries {
		all[i] = string(d.Body)
	}
	return strings.Join(all, " ")
}
