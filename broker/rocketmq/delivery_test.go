package rocketmq

import (
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

const ours = "AB01020304000001000012345678000A"

func pulled(body string, properties ...string) *primitive.MessageExt {
	m := &primitive.MessageExt{OffsetMsgId: "OFFSET-ID", MsgId: "MSG-ID", BodyCRC: int32(crc32.ChecksumIEEE([]byte(body)) & 0x7fffffff)}
	m.Topic, m.Body = "t", []byte(body)
	for i := 0; i < len(properties); i += 2 {
		m.WithProperty(properties[i], properties[i+1])
	}
	return m
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		name, topic string
		properties  []string
		want        string
		id          bool
	}{
		{"ours", "t", []string{"UNIQ_KEY", ours, "remora-origin", "ab01020304"}, ours, true},
		{"ours, retried", "%RETRY%g", []string{"UNIQ_KEY", ours, "remora-origin", "ab01020304", "ORIGIN_MESSAGE_ID", "FIRST"}, ours, true},
		{"another producer's key", "t", []string{"UNIQ_KEY", ours}, "OFFSET-ID", false},
		{"a key that does not fit its origin", "t", []string{"UNIQ_KEY", ours, "remora-origin", "ab01020305"}, "OFFSET-ID", false},
		{"no hexadecimal key", "t", []string{"UNIQ_KEY", "k", "remora-origin", ""}, "OFFSET-ID", false},
		{"retried", "%RETRY%g", []string{"UNIQ_KEY", ours, "ORIGIN_MESSAGE_ID", "FIRST"}, "FIRST", false},
		{"claims to be retried", "t", []string{"ORIGIN_MESSAGE_ID", "FIRST"}, "OFFSET-ID", false},
		{"nothing", "t", nil, "OFFSET-ID", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := delivery(pulled("x", c.properties...), primitive.MessageQueue{Topic: c.topic}, broker.Subscription{})
			if err != nil || d.Identity != c.want || d.ID.IsZero() == c.id {
				t.Errorf("identity %s, ID %s, error %v", d.Identity, d.ID, err)
			}
		})
	}
}

func TestDeliveryOfAForeignMessage(t *testing.T) {
	m := pulled("body", "UNIQ_KEY", "x", "TAGS", "tag", "KEYS", "k1 k2", "SHARDING_KEY", "o", "content-type", "text/plain",
		"content-encoding", "br", "traceparent", "tp", "tracestate", "ts", "CLUSTER", "c", "cluster", "own", "MIN_OFFSET", "0",
		"__transactionId__", "x", "TIMER_DELIVER_MS", "1", "remora-x", "1", "ce-id", "17", "a", "1")
	m.ReconsumeTimes, m.QueueOffset, m.CommitLogOffset, m.StoreHost, m.BornTimestamp = 2, 42, 4711, "h:1", 1000
	d, err := delivery(m, primitive.MessageQueue{Topic: "t", BrokerName: "b", QueueId: 3}, broker.Subscription{Name: "s", Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	want := &message.Delivery{
		Message: message.Message{
			Topic: "t", Tag: "tag", Keys: []string{"k1", "k2"}, OrderingKey: "o", ContentType: "text/plain",
			ContentEncoding: "br", TraceParent: "tp", TraceState: "ts", Body: []byte("body"),
			Properties: []message.Property{{Name: "a", Value: "1"}, {Name: "ce-id", Value: "17"}, {Name: "cluster", Value: "own"}},
		},
		Subscription: "s", Group: "g", Identity: "OFFSET-ID", BrokerMessageID: "OFFSET-ID", Queue: "b/3", Offset: 42,
		Attempt: 3, BornAt: time.UnixMilli(1000), Handle: origin{"b", "h:1", 4711, "MSG-ID"},
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got  %+v\nwant %+v", d, want)
	}
}

// Nothing that the library failed to decompress reaches an application.
func TestUndecodableBodies(t *testing.T) {
	for _, c := range []struct {
		name    string
		sysFlag int32
		stored  bool // the body is what the broker stored
		ok      bool
	}{
		{"plain", 0, true, true},
		{"plain, altered", 0, false, false},
		{"plain from IPv6", 0x30, true, true},
		{"zlib before 5.0", 0x1, false, true},
		{"zlib", 0x301, false, true},
		{"zlib, not decompressed", 0x301, true, false},
		{"LZ4", 0x101, true, false},
		{"ZSTD", 0x201, true, false},
		{"unheard of", 0x501, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := pulled("body")
			m.SysFlag = c.sysFlag
			if !c.stored {
				m.BodyCRC++
			}
			d, err := delivery(m, primitive.MessageQueue{}, broker.Subscription{})
			if c.ok != (err == nil) || !c.ok && (d != nil || !errors.Is(err, errUndecodable)) {
				t.Errorf("delivery %v, error %v", d, err)
			}
		})
	}
}
