package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var produceCases = []testCase{
	{"a single message is confirmed with its place", 1, sendSingle},
	{"a batch is confirmed message by message", 4, sendBatch},
	{"nothing sent is nothing confirmed", 1, sendNothing},
	{"bodies arrive byte for byte", 1, sendBodies},
	{"a batch of all byte values arrives byte for byte", 1, sendBatchBodies},
	{"everything a message carries arrives", 1, sendFull},
	{"a batch carries everything too", 1, sendFullBatch},
	{"an ordering key keeps its queue and its order", 4, sendOrdered},
	{"a batch of two keys or topics is not sent", 1, sendMixed},
	{"a done context sends nothing", 1, sendCancelled},
	{"close waits for sends, then they are refused", 1, closeProducer},
}

func sendSingle(f *fixture) {
	m := newMessage(f.topic, "one")
	confirmed := f.send(m)
	checkConfirmed(f.t, confirmed, []*message.Message{m})

	d := f.consume(f.subscription()).take(1)[0]
	if d.ID != m.ID || d.Identity != m.ID.String() {
		f.t.Errorf("delivered as %s, identity %s; sent as %s", d.ID, d.Identity, m.ID)
	}
	if d.Attempt != 1 || d.Group != f.group || d.Subscription != f.group || d.BornAt.IsZero() {
		f.t.Errorf("attempt %d, group %q, subscription %q, born %v", d.Attempt, d.Group, d.Subscription, d.BornAt)
	}
	checkPlaces(f.t, confirmed, []*message.Delivery{d})
}

func sendBatch(f *fixture) {
	msgs := newMessages(f.topic, 20)
	confirmed := f.send(msgs...)
	checkConfirmed(f.t, confirmed, msgs)
	checkPlaces(f.t, confirmed, f.consume(f.subscription()).take(len(msgs)))
}

func sendNothing(f *fixture) {
	if confirmed := f.send(); len(confirmed) != 0 {
		f.t.Errorf("confirmed %v", confirmed)
	}
}

// checkConfirmed wants a full confirmation for each message, in order.
func checkConfirmed(t *testing.T, confirmed []message.Confirmation, msgs []*message.Message) {
	t.Helper()
	if len(confirmed) != len(msgs) {
		t.Fatalf("%d confirmations for %d messages", len(confirmed), len(msgs))
	}
	seen := map[string]bool{}
	for i, m := range msgs {
		c := confirmed[i]
		if c.MessageID != m.ID.String() {
			t.Errorf("confirmation %d is of %s, want %s", i, c.MessageID, m.ID)
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

func sendBodies(f *fixture) {
	want := map[message.ID][]byte{}
	for _, body := range [][]byte{
		{0}, []byte("x"), allBytes(), bytes.Repeat(allBytes(), 1<<20/256),
		bytes.Repeat([]byte("compresses well "), 1024), bytes.Repeat([]byte{0xff}, message.MaxBody),
	} {
		m := newMessage(f.topic, string(body))
		f.send(m)
		want[m.ID] = body
	}
	checkBodies(f.t, f.consume(f.subscription()).take(len(want)), want)
}

func sendBatchBodies(f *fixture) {
	want := map[message.ID][]byte{}
	var msgs []*message.Message
	for i := range 256 {
		body := bytes.Repeat([]byte{byte(i)}, 1+i)
		m := newMessage(f.topic, string(body))
		msgs, want[m.ID] = append(msgs, m), body
	}
	f.send(msgs...)
	checkBodies(f.t, f.consume(f.subscription()).take(len(want)), want)
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
	m.TopicSeq = 1 << 40
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

func sendFull(f *fixture) {
	m := fullMessage(f.topic)
	m.OrderingKey = "客户-7"
	f.send(m)
	checkFull(f.t, f.consume(f.subscription()).take(1)[0], m)
}

func sendFullBatch(f *fixture) {
	first, second := fullMessage(f.topic), newMessage(f.topic, "plain")
	f.send(first, second)
	for _, d := range f.consume(f.subscription()).take(2) {
		if d.ID == first.ID {
			checkFull(f.t, d, first)
		} else {
			checkFull(f.t, d, second)
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

func sendOrdered(f *fixture) {
	second := f.backend.NewProducer(f.t)
	defer closing(f.t, second)
	keys := []string{"a", "b", "c", "d", "e"}
	queue := map[string]string{}
	for i := range 40 {
		key := keys[i%len(keys)]
		m := newMessage(f.topic, strconv.Itoa(i))
		m.OrderingKey = key
		producer := []broker.Producer{f.producer, second}[i/len(keys)%2]
		confirmed, err := attempt(f.t.Context(), producer, m)
		if err != nil {
			f.t.Fatal(err)
		}
		if q := queue[key]; q != "" && q != confirmed[0].Queue {
			f.t.Fatalf("key %s went to %s, then to %s", key, q, confirmed[0].Queue)
		}
		queue[key] = confirmed[0].Queue
	}
	checkOrder(f.t, f, 40)
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

func sendMixed(f *fixture) {
	keyed, other := newMessage(f.topic, "1"), newMessage(name(f.t, "other"), "2")
	keyed.OrderingKey = "k"
	for _, second := range []*message.Message{keyed, other} {
		_, err := f.producer.Send(f.t.Context(), []*message.Message{newMessage(f.topic, "0"), second})
		if broker.OutcomeOf(err) != message.OutcomePermanent {
			f.t.Errorf("mixed batch: %v", err)
		}
	}
	f.send(newMessage(f.topic, "good"))
	if got := bodies(f.consume(f.subscription()).take(1)); got != "good" {
		f.t.Errorf("delivered %s", got)
	}
}

func sendCancelled(f *fixture) {
	f.send(newMessage(f.topic, "before"))
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	for range 5 {
		if _, err := f.producer.Send(ctx, newMessages(f.topic, 1)); broker.OutcomeOf(err) != message.OutcomeRetryable {
			f.t.Errorf("send with a done context: %v, want a retryable error", err)
		}
	}
	f.send(newMessage(f.topic, "after"))
	c := f.consume(f.subscription())
	if got := bodies(c.take(2)); got != "before after" && got != "after before" {
		f.t.Errorf("delivered %s", got)
	}
	c.quiet(time.Second)
}

func closeProducer(f *fixture) {
	p := f.backend.NewProducer(f.t)
	var mu sync.Mutex
	confirmed := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				_, err := attempt(f.t.Context(), p, newMessages(f.topic, 1)...)
				if errors.Is(err, broker.ErrClosed) {
					return
				}
				if err != nil {
					f.t.Errorf("send while closing: %v", err)
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
		f.t.Errorf("close: %v", err)
	}
	wg.Wait()
	_, err := p.Send(f.t.Context(), newMessages(f.topic, 1))
	if !errors.Is(err, broker.ErrClosed) || broker.OutcomeOf(err) != message.OutcomeRetryable {
		f.t.Errorf("send after close: %v", err)
	}
	c := f.consume(f.subscription())
	c.take(confirmed)
	c.quiet(time.Second)
}
