package rocketmq

import (
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
)

// A copy of a dead letter has what its message carried, and nothing by which a broker
// would delay it, hold it as a half message, count it on, or confirm it early.
func TestRedrivenCopyIsAFirstAttempt(t *testing.T) {
	m := &primitive.MessageExt{BornTimestamp: 5, ReconsumeTimes: 7, SysFlag: 0x2 | 0x10, BodyCRC: int32(crc32.ChecksumIEEE([]byte("b")) & 0x7fffffff)}
	m.Topic, m.Body = "%DLQ%g", []byte("b")
	m.WithProperties(map[string]string{
		"UNIQ_KEY": "0A", "ORIGIN_MESSAGE_ID": "7F", "RETRY_TOPIC": "orders", "KEYS": "k", "TAGS": "t", "mine": "1", "remora-origin": "s",
		"WAIT": "false", "DELAY": "3", "REAL_TOPIC": "x", "REAL_QID": "0", "TIMER_DELIVER_MS": "1", "TIMER_OUT_MS": "1",
		"TRAN_MSG": "true", "PGROUP": "p", "RECONSUME_TIME": "7", "MAX_RECONSUME_TIMES": "16", "INNER_NUM": "1",
	})
	d := &DeadLetters{group: "g"}
	c := d.again(m, queueRef{"broker-a", 0})
	kept := strings.Split(c.ExtFields["properties"], "\x02")
	slices.Sort(kept)
	want := []string{"KEYS\x01k", "ORIGIN_MESSAGE_ID\x017F", "RETRY_TOPIC\x01orders", "TAGS\x01t", "UNIQ_KEY\x010A", "mine\x011", "remora-origin\x01s"}
	if !slices.Equal(kept, want) {
		t.Errorf("properties %q", kept)
	}
	for name, value := range map[string]string{"topic": "%RETRY%g", "reconsumeTimes": "0", "sysFlag": "2", "bornTimestamp": "5", "batch": "false"} {
		if c.ExtFields[name] != value {
			t.Errorf("%s is %s, want %s", name, c.ExtFields[name], value)
		}
	}
	if string(c.body) != "b" {
		t.Errorf("body %q", c.body)
	}
	m.SysFlag, m.BodyCRC = 0x1|0x102, 0 // LZ4: its stored bytes
	if c = d.again(m, queueRef{"broker-a", 0}); c.ExtFields["sysFlag"] != "259" {
		t.Errorf("flags of a body that is not decoded: %s", c.ExtFields["sysFlag"])
	}
}

// What does not say where it is from cannot be redriven, and nobody is asked.
func TestDeadLetterWithoutATopic(t *testing.T) {
	d := &DeadLetters{group: "g"}
	dead := d.deadLetter(&primitive.MessageExt{}, queueRef{"broker-a", 0})
	if err := d.Redrive(t.Context(), &dead); !errors.Is(err, broker.ErrUnsendable) {
		t.Errorf("error %v", err)
	}
}
