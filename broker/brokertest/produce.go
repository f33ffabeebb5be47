package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var produceCases = []testCase{
	{"a single message is confirmed with its place", sendSingle},
	{"a batch is confirmed message by message", sendBatch},
	{"nothing sent is nothing confirmed", sendNothing},
	{"bodies arrive byte for byte", sendBodies},
	{"a batch of all byte values arrives byte for byte", sendBatchBodies},
	{"everything a message carries arrives", sendFull},
	{"a batch carries everything too", sendFullBatch},
	{"an ordering key keeps its queue and its order", sendOrdered},
	{"a batch of two keys or topics is not sent", sendMixed},
	{"a done context sends nothing", sendCancelled},
	{"close waits for sends, then they are refused", closeProducer},
}

func sendSingle(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	m := newMessage(f.topic, "one")
	confirmed := f.send(m)
	checkConfirmed(t, confirmed, []*message.Message{m})

	d := f.consume(f.subscription()).take(1)[0]
	if d.ID != m.ID || d.Identity != m.ID.String() {
		t.Errorf("delivered as %s, identity %s; sent as %s", d.ID, d.Identity, m.ID)
	}
	if d.Attempt != 1 || d.Group != f.group || d.Subscription != f.group || d.BornAt.IsZero() {
		t.Errorf("attempt %d, group %q, subscription %q, born %v", d.Attempt, d.Group, d.Subscription, d.BornAt)
	}
	checkPlaces(t, confirmed, []*message.Delivery{d})
}

func sendBatch(t *testing.T, b Backend) {
	f := newFixture(t, b, 4)
	msgs := newMessages(f.topic, 20)
	confirmed := f.send(msgs...)
	checkConfirmed(t, confirmed, msgs)
	checkPlaces(t, confirmed, f.consume(f.subscription()).take(len(msgs)))
}

func sendNothing(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	if confirmed := f.send(); len(confirmed) != 0 {
		t.Errorf("confirmed %v", confirmed)
	}
}

// checkConfirmed wants a full confirmation for each message, in order.
func checkConfirmed(t *testing.T, confirmed []message.Confirmation, msgs []*message.Message) {
	t.Helper()
	if len(confirmed) != len(msgs) {
		t.Fatalf("%d confirmations for %d messages", len(confirmed), len(msgs))
	}
	seen := map[string]bool{}
	for i, c := range confirmed {
		if c.MessageID != msgs[i].ID.String() {
			t.Errorf("confirmation %d is of %s, want %s", i, c.MessageID, msgs[i].ID)
		}
		if c.OffsetMessageID == "" || seen[c.OffsetMessageID] || !strings.Contains(c.Queue, "/") {
			t.Errorf("confirmation %d: offset message ID %q, queue %q", i, c.OffsetMessageID, c.Queue)
		}
		seen[c.OffsetMessageID] = true
	}
}

// checkPlaces wants that messages lie where their confirmation said.
func checkPlaces(t *testing.T, confirmed []message.Confirmation, deliveries []*message.Delivery) {
	t.Helper()
	said := map[string]message.Confirmation{}
	for _, c := range confirmed {
		said[c.MessageID] = c
	}
	for _, d := range deliveries {
		is := message.Confirmation{MessageID: d.ID.String(), OffsetMessageID: d.BrokerMessageID, Queue: d.Queue, Offset: d.Offset}
		if want := said[d.ID.String()]; is != want {
			t.Errorf("delivered from %+v, confirmed as %+v", is, want)
		}
	}
}

func allBytes() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func sendBodies(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	want := map[message.ID][]byte{}
	for _, body := range [][]byte{
		{0}, []byte("x"), allBytes(), bytes.Repeat(allBytes(), 1<<20/256),
		bytes.Repeat([]byte("compresses well "), 1024), bytes.Repeat([]byte{0xff}, message.MaxBody),
	} {
		m := newMessage(f.topic, string(body))
		f.send(m)
		want[m.ID] = body
	}
	checkBodies(t, f.consume(f.subscription()).take(len(want)), want)
}

func sendBatchBodies(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	want := map[message.ID][]byte{}
	var msgs []*message.Message
	for i := range 256 {
		body := bytes.Repeat([]byte{byte(i)}, 1+i)
		m := newMessage(f.topic, string(body))
		msgs, want[m.ID] = append(msgs, m), body
	}
	f.send(msgs...)
	checkBodies(t, f.consume(f.subscription()).take(len(want)), want)
}

func checkBodies(t *testing.T, deliveries []*message.Delivery, want map[message.ID][]byte) {
	t.Helper()
	for _, d := range deliveries {
		if !bytes.Equal(d.Body, want[d.ID]) {
			t.Errorf("message %s: %d bytes arrived, which are not the %d sent", d.ID, len(d.Body), len(want[d.ID]))
		}
	}
}

// fullMessage uses every field that travels.
func fullMessage(topic string) *message.Message {
	m := newMessage(topic, "body")
	m.Tag = "größe"
	m.Keys = []string{"order-17", "κλειδί"}
	m.ContentType = "application/json; charset=utf-8"
	m.ContentEncoding = "gzip"
	m.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m.TraceState = "congo=t61rcWkgMzE"
	m.Properties = []message.Property{
		{Name: "a", Value: " spaces and = signs "}, {Name: "cluster", Value: "own"},
		{Name: "lines", Value: "one\ntwo\ttab"}, {Name: "utf8-名前", Value: "日本語 🐟"},
		{Name: "z", Value: strings.Repeat("v", 20_000)},
	}
	message.SortProperties(m.Properties)
	return m
}

func sendFull(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	m := fullMessage(f.topic)
	m.OrderingKey = "客户-7"
	f.send(m)
	checkFull(t, f.consume(f.subscription()).take(1)[0], m)
}

func sendFullBatch(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	first, second := fullMessage(f.topic), newMessage(f.topic, "plain")
	f.send(first, second)
	for _, d := range f.consume(f.subscription()).take(2) {
		if d.ID == first.ID {
			checkFull(t, d, first)
		} else {
			checkFull(t, d, second)
		}
	}
}

func checkFull(t *testing.T, d *message.Delivery, sent *message.Message) {
	t.Helper()
	want, got := *sent, d.Message
	want.AcceptedAt, got.AcceptedAt = time.Time{}, time.Time{} // does not travel
	if len(got.Keys) == 0 {
		got.Keys = nil
	}
	if len(got.Properties) == 0 {
		got.Properties = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("delivered %+v\nsent      %+v", got, want)
	}
}

func sendOrdered(t *testing.T, b Backend) {
	f := newFixture(t, b, 4)
	second := f.backend.NewProducer(t)
	t.Cleanup(func() { second.Close() })
	keys := []string{"a", "b", "c", "d", "e"}
	queue := map[string]string{}
	for i := range 40 {
		key := keys[i%len(keys)]
		m := newMessage(f.topic, fmt.Sprint(i))
		m.OrderingKey = key
		producer := []broker.Producer{f.producer, second}[i/len(keys)%2]
		confirmed, err := producer.Send(t.Context(), []*message.Message{m})
		if err != nil {
			t.Fatal(err)
		}
		if q := queue[key]; q != "" && q != confirmed[0].Queue {
			t.Fatalf("key %s went to %s, then to %s", key, q, confirmed[0].Queue)
		}
		queue[key] = confirmed[0].Queue
	}
	checkOrder(t, f, 40)
}

// checkOrder wants offsets in the order in which each key's messages were sent.
func checkOrder(t *testing.T, f *fixture, n int) {
	t.Helper()
	offsets := map[string]map[int64]int{} // key → offset → position sent
	for _, d := range f.consume(f.subscription()).take(n) {
		var position int
		if _, err := fmt.Sscan(string(d.Body), &position); err != nil {
			t.Fatal(err)
		}
		if offsets[d.OrderingKey] == nil {
			offsets[d.OrderingKey] = map[int64]int{}
		}
		offsets[d.OrderingKey][d.Offset] = position
	}
	for key, positions := range offsets {
		for o1, p1 := range positions {
			for o2, p2 := range positions {
				if o1 < o2 && p1 > p2 {
					t.Errorf("key %s: message %d lies before %d", key, p1, p2)
				}
			}
		}
	}
}

func sendMixed(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	keyed, other := newMessage(f.topic, "1"), newMessage(name(t, "other"), "2")
	keyed.OrderingKey = "k"
	for _, second := range []*message.Message{keyed, other} {
		_, err := f.producer.Send(t.Context(), []*message.Message{newMessage(f.topic, "0"), second})
		if broker.OutcomeOf(err) != message.OutcomePermanent {
			t.Errorf("mixed batch: %v", err)
		}
	}
	f.send(newMessage(f.topic, "good"))
	if got := bodies(f.consume(f.subscription()).take(1)); got != "good" {
		t.Errorf("delivered %s", got)
	}
}

func sendCancelled(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	f.send(newMessage(f.topic, "before"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if _, err := f.producer.Send(ctx, newMessages(f.topic, 1)); broker.OutcomeOf(err) != message.OutcomeRetryable {
			t.Errorf("send with a done context: %v, want a retryable error", err)
		}
	}
	f.send(newMessage(f.topic, "after"))
	c := f.consume(f.subscription())
	if got := bodies(c.take(2)); got != "before after" && got != "after before" {
		t.Errorf("delivered %s", got)
	}
	c.quiet(time.Second)
}

func closeProducer(t *testing.T, b Backend) {
	f := newFixture(t, b, 1)
	p := b.NewProducer(t)
	var mu sync.Mutex
	confirmed := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				_, err := p.Send(context.Background(), newMessages(f.topic, 1))
				if errors.Is(err, broker.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("send while closing: %v", err)
					return
				}
				mu.Lock()
				confirmed++
				mu.Unlock()
			}
		})
	}
	time.Sleep(300 * time.Millisecond) // let sends be in flight; any moment will do
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	_, err := p.Send(t.Context(), newMessages(f.topic, 1))
	if !errors.Is(err, broker.ErrClosed) || broker.OutcomeOf(err) != message.OutcomeRetryable {
		t.Errorf("send after close: %v", err)
	}
	c := f.consume(f.subscription())
	c.take(confirmed)
	c.quiet(time.Second)
}
