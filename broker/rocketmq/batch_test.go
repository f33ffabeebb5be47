package rocketmq

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/remora-mq/remora/message"
)

// inner is a message of a batch, as a broker reads it (MessageDecoder.decodeMessage).
type inner struct {
	magic, crc, flag uint32
	body             string
	properties       map[string]string
}

func readBatch(t *testing.T, b []byte) (all []inner) {
	t.Helper()
	for len(b) > 0 {
		total, body := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint32(b[16:]))
		one := b[:total]
		b = b[total:]
		m := inner{
			magic: binary.BigEndian.Uint32(one[4:]), crc: binary.BigEndian.Uint32(one[8:]), flag: binary.BigEndian.Uint32(one[12:]),
			body: string(one[20 : 20+body]), properties: map[string]string{},
		}
		text := one[20+body+2:]
		if size := int(binary.BigEndian.Uint16(one[20+body:])); size != len(text) {
			t.Fatalf("properties of %d bytes are said to be %d", len(text), size)
		}
		for pair := range strings.SplitSeq(strings.TrimSuffix(string(text), "\x02"), "\x02") {
			name, value, found := strings.Cut(pair, "\x01")
			if !found || value == "" {
				t.Errorf("property %q", pair)
			}
			m.properties[name] = value
		}
		all = append(all, m)
	}
	return all
}

// full is a message with all that can be in one.
func full(seq uint64) *message.Message {
	m := testMessage(seq, "key")
	m.TopicSeq, m.Tag, m.Keys, m.ContentType = seq, "tag", []string{"a", "b"}, "text/plain"
	m.ContentEncoding, m.TraceParent, m.TraceState = "gzip", "00-trace-01", "vendor=1"
	m.Properties = []message.Property{{Name: "x", Value: "1"}, {Name: "empty"}, {Name: "TAGS", Value: "not the tag"}, {Name: "y", Value: "ü"}}
	return m
}

// TestBatchIsWhatTheLibraryMakes compares with the library's own encoding, of
// which the properties have no order.
func TestBatchIsWhatTheLibraryMakes(t *testing.T) {
	large := testMessage(3, "key")
	large.Body = []byte(strings.Repeat("body ", 1000))
	msgs := []*message.Message{full(1), testMessage(2, "key"), large}
	a := testSelector().begin("", "key", len(msgs))
	got, e := toWire(msgs, a)
	if e != nil || len(got) != 1 || !got[0].Batch || got[0].Topic != "t" || got[0].Queue != &a.ticket {
		t.Fatalf("%+v, %v", got, e)
	}
	var each []*primitive.Message
	for _, m := range msgs {
		each = append(each, wireMessage(m))
	}
	want, ours := readBatch(t, producer.MarshalMessageBatch(each...)), readBatch(t, got[0].Body)
	if len(ours) != len(want) {
		t.Fatalf("%d messages, want %d", len(ours), len(want))
	}
	for i, w := range want {
		o := ours[i]
		if o.body != w.body || !maps.Equal(o.properties, w.properties) || o.magic != w.magic || o.crc != w.crc || o.flag != w.flag {
			t.Errorf("message %d:\n%+v, want\n%+v", i, o, w)
		}
	}
	all := map[string]string{
		"x": "1", "y": "ü", "UNIQ_KEY": msgs[0].ID.String(), "TAGS": "tag", "KEYS": "a b",
		message.PropOrigin: "0102030405", message.PropTopicSeq: "1", message.PropOrderingKey: "key",
		message.PropContentType: "text/plain", message.PropContentEncoding: "gzip",
		message.PropTraceParent: "00-trace-01", message.PropTraceState: "vendor=1",
	}
	if !maps.Equal(ours[0].properties, all) {
		t.Errorf("properties %q, want %q", ours[0].properties, all)
	}
}

// An abandoned call keeps the batch.
func TestBatchIsACopy(t *testing.T) {
	msgs := []*message.Message{testMessage(1, ""), testMessage(2, "")}
	got, e := toWire(msgs, testSelector().begin("", "", 2))
	if e != nil {
		t.Fatal(e)
	}
	before := string(got[0].Body)
	clear(msgs[0].Body)
	clear(msgs[1].Body)
	if string(got[0].Body) != before {
		t.Error("it changes with its messages")
	}
}

// The library writes only 16 bits of the length of the properties.
func TestPropertiesBeyondTheirLengthAreNotSent(t *testing.T) {
	wide := testMessage(1, "")
	wide.Tag = strings.Repeat("x", math.MaxInt16)
	for _, msgs := range [][]*message.Message{{wide}, {wide, testMessage(2, "")}, {testMessage(2, ""), wide}} {
		if _, e := toWire(msgs, testSelector().begin("", "", len(msgs))); e == nil || e.Outcome != permanent || e.Status != statusIllegal {
			t.Errorf("batch of %d: %+v", len(msgs), e)
		}
	}
}

func BenchmarkToWire(b *testing.B) {
	msgs := make([]*message.Message, 128)
	for i := range msgs {
		msgs[i] = testMessage(uint64(i+1), "")
		msgs[i].TopicSeq, msgs[i].ContentType, msgs[i].Body = uint64(i+1), "application/octet-stream", make([]byte, 1024)
	}
	a := testSelector().begin("", "", len(msgs))
	b.ReportAllocs()
	for b.Loop() {
		if _, e := toWire(msgs, a); e != nil {
			b.Fatal(e)
		}
	}
}

// BenchmarkLibraryBatch is the way through the library.
func BenchmarkLibraryBatch(b *testing.B) {
	msgs := make([]*message.Message, 128)
	for i := range msgs {
		msgs[i] = testMessage(uint64(i+1), "")
		msgs[i].TopicSeq, msgs[i].ContentType, msgs[i].Body = uint64(i+1), "application/octet-stream", make([]byte, 1024)
	}
	b.ReportAllocs()
	for b.Loop() {
		each := make([]*primitive.Message, len(msgs))
		for i, m := range msgs {
			each[i] = wireMessage(m)
			_ = each[i].MarshallProperties()
		}
		_ = producer.MarshalMessageBatch(each...)
	}
}

// What a call that was given up may still write is not overwritten by later batches.
func TestBytesOfABatchStayWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		stuck, given := make(chan struct{}), make(chan []byte, 21)
		f.answer = func(_ context.Context, msgs []*primitive.Message) (*primitive.SendResult, error) {
			given <- msgs[0].Body
			<-stuck
			return nil, errors.New("late")
		}
		if _, e := send(l, testMessage(1, ""), testMessage(2, "")); e == nil || e.Outcome != unknown {
			t.Fatalf("stuck call: %v", e)
		}
		first := <-given
		before := bytes.Clone(first)
		for n := range uint64(20) {
			_, _ = send(l, testMessage(10+2*n, ""), testMessage(11+2*n, ""))
		}
		if !bytes.Equal(first, before) {
			t.Error("they have changed while the call runs")
		}
		close(stuck)
		synctest.Wait()
	})
}
