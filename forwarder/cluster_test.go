package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// cluster is a scripted broker of several nodes, whose time is a bubble's. What
// it does follows its schedule, and a random source of its own for the rest.
type cluster struct {
	t       testing.TB
	brokers []string
	delay   time.Duration // of an answer, at most
	late    time.Duration // after which a request that hung may still be stored, at most

	mu      sync.Mutex
	rnd     *rand.Rand
	queues  map[string][]string // by topic
	faults  map[string]fault    // by broker; healthy if it has none
	faulty  float64             // part of the attempts that fail by chance
	running map[string]int      // attempts with keys, by topic and queue
	seen    map[message.ID]bool
	first   []message.Message // in the order of their first appearance
	copies  int               // further ones
	healthy bool              // from now on
	late0   sync.WaitGroup    // requests that hung
}

// fault is what is wrong with a broker.
type fault int

const (
	well     fault = iota
	down           // refuses connections
	hanging        // takes requests and answers none; it may store them later
	degraded       // stores, and does not answer SEND_OK
	busy
	gone // from all routes
)

func newCluster(t testing.TB, seed uint64, brokers ...string) *cluster {
	return &cluster{
		t: t, brokers: brokers, rnd: rand.New(rand.NewPCG(seed, 1)), queues: map[string][]string{}, faults: map[string]fault{},
		running: map[string]int{}, seen: map[message.ID]bool{},
	}
}

// spread gives a topic so many queues on each broker.
func (c *cluster) spread(topic string, each int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, b := range c.brokers {
		for n := range each {
			all = append(all, fmt.Sprintf("%s/%d", b, n))
		}
	}
	c.queues[topic] = all
}

// add gives a topic one queue more, if one is named.
func (c *cluster) add(topic, queue string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if queue != "" {
		c.queues[topic] = append(slices.Clone(c.queues[topic]), queue)
	}
}

func (c *cluster) set(broker string, f fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[broker] = f
}

// heal ends all faults.
func (c *cluster) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.faults)
	c.faulty, c.healthy = 0, true
}

func brokerOf(queue string) string { return queue[:strings.LastIndex(queue, "/")] }

// there are the queues of a topic in the routes.
func (c *cluster) there(topic string) []string {
	return slices.DeleteFunc(slices.Clone(c.queues[topic]), func(q string) bool { return c.faults[brokerOf(q)] == gone })
}

func (c *cluster) Queues(_ context.Context, topic string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.there(topic)
}

func (c *cluster) Serves(topic, queue string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serves(topic, queue)
}

func (c *cluster) serves(topic, queue string) bool {
	return slices.Contains(c.there(topic), queue) && c.faults[brokerOf(queue)] == well
}

func (c *cluster) Instead(topic, queue string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	able := slices.DeleteFunc(c.there(topic), func(q string) bool { return q == queue || !c.serves(topic, q) })
	if len(able) == 0 {
		return ""
	}
	return able[0]
}

func (c *cluster) Close() error { return nil }

// Send sends to any queue, of a broker that is well if there is one; what has a
// key, of a topic whose queues were not known, to the first.
func (c *cluster) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	c.mu.Lock()
	topic := msgs[0].Topic
	able := c.there(topic)
	if len(able) == 0 {
		c.mu.Unlock()
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "NO_ROUTE"}
	}
	if fit := slices.DeleteFunc(slices.Clone(able), func(q string) bool { return !c.serves(topic, q) }); len(fit) > 0 {
		able = fit
	}
	queue := able[c.rnd.IntN(len(able))]
	if msgs[0].OrderingKey != "" {
		queue = c.there(topic)[0]
	}
	c.mu.Unlock()
	return c.send(ctx, queue, msgs)
}

func (c *cluster) SendTo(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	place := msgs[0].Topic + " " + queue
	c.mu.Lock()
	if c.running[place]++; c.running[place] > 1 {
		c.t.Errorf("%d attempts are made at %s", c.running[place], place)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running[place]--
	}()
	return c.send(ctx, queue, msgs)
}

func (c *cluster) send(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	c.mu.Lock()
	wait := time.Duration(c.rnd.Int64N(int64(c.delay) + 1))
	c.mu.Unlock()
	time.Sleep(wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.judge(queue, msgs); err != nil {
		if err.Status == "TIMEOUT" {
			c.mu.Unlock()
			<-ctx.Done()
			c.mu.Lock()
			c.storeLate(msgs)
		}
		return nil, err
	}
	return c.store(queue, msgs), nil
}

// judge says how an attempt ends; nil: SEND_OK.
func (c *cluster) judge(queue string, msgs []*message.Message) *broker.SendError {
	topic, name := msgs[0].Topic, brokerOf(queue)
	err := &broker.SendError{Outcome: message.OutcomeRetryable, Queue: queue, Err: errors.New("scripted")}
	err.Elsewhere = slices.ContainsFunc(c.there(topic), func(q string) bool { return brokerOf(q) != name && c.serves(topic, q) })
	if !slices.Contains(c.there(topic), queue) {
		err.Status = "NO_QUEUE"
		err.Gone = slices.ContainsFunc(c.there(topic), func(q string) bool { return brokerOf(q) == name })
		return err
	}
	f := c.faults[name]
	if f == well && topic != calm && c.rnd.Float64() < c.faulty {
		f = []fault{down, hanging, degraded, busy}[c.rnd.IntN(4)]
	}
	switch {
	case f == down:
		err.Status = "CONNECT"
	case f == hanging:
		err.Outcome, err.Status = message.OutcomeUnknown, "TIMEOUT"
	case slices.ContainsFunc(msgs, poisoned):
		err.Outcome, err.Status = message.OutcomePermanent, "MESSAGE_ILLEGAL"
	case f == degraded:
		c.store(queue, msgs)
		err.Outcome, err.Status, err.Stored = message.OutcomeUnknown, "SLAVE_NOT_AVAILABLE", true
	case f == busy:
		err.Status = "SYSTEM_BUSY"
	default:
		return nil
	}
	return err
}

// poisoned messages are refused for what they are.
func poisoned(m *message.Message) bool { return m.Tag == "poison" }

func (c *cluster) store(queue string, msgs []*message.Message) []message.Confirmation {
	var out []message.Confirmation
	for _, m := range msgs {
		if c.seen[m.ID] {
			c.copies++
		} else {
			c.seen[m.ID] = true
			c.first = append(c.first, *m)
		}
		out = append(out, message.Confirmation{OffsetMessageID: fmt.Sprint(len(c.first)), Queue: queue})
	}
	return out
}

// storeLate stores a request, or not, that nobody waits for any more, as a broker
// does that was stopped and goes on.
func (c *cluster) storeLate(msgs []*message.Message) {
	if c.late == 0 || c.rnd.IntN(2) == 0 || slices.ContainsFunc(msgs, poisoned) {
		return
	}
	after := time.Duration(c.rnd.Int64N(int64(c.late)))
	c.late0.Go(func() {
		time.Sleep(after)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.store("", msgs)
	})
}

// inOrder fails the test unless the first appearances of each key are in the
// order of their topic sequences.
func (c *cluster) inOrder() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	last := map[string]message.Message{}
	for _, m := range c.first {
		if m.OrderingKey == "" {
			continue
		}
		lane := m.Topic + " " + m.OrderingKey
		if before := last[lane]; before.TopicSeq >= m.TopicSeq && before.TopicSeq > 0 {
			c.t.Errorf("%s: number %d appeared after %d", lane, m.TopicSeq, before.TopicSeq)
		}
		last[lane] = m
	}
}
