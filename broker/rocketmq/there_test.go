package rocketmq

import (
	"encoding/binary"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// stored is a message as a broker's log has it (MessageDecoder.encode of 5.3.3).
func stored(topic string, offset int64, properties string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), magics[0])
	b = append(b, make([]byte, 4+4+4+8)...) // CRC, queue, flag, offset in the queue
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = append(b, make([]byte, 4+8+8+8+8+4+8+4)...) // to the body, which is empty
	b = append(append(b, byte(len(topic))), topic...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(properties))), properties...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// All half messages of a transaction have one unique key: which of them it is tells its
// number alone.
func TestWhichHalfMessageLiesThere(t *testing.T) {
	place := message.HalfPlace{LogOffset: 1000, MessageID: "M"}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  broker.Half
	}{
		{"the first", stored(halfTopic, 1000, "UNIQ_KEY\x01M\x02remora-half\x011 order-7\x02"), broker.Half{Transaction: "order-7", Number: 1}},
		{"one that replaced it", stored(halfTopic, 1000, "UNIQ_KEY\x01M\x02remora-half\x012 order 7\x02"), broker.Half{Transaction: "order 7", Number: 2}},
		{"of another message", stored(halfTopic, 1000, "UNIQ_KEY\x01N\x02remora-half\x011 order-7\x02"), broker.Half{}},
		{"at another offset", stored(halfTopic, 1001, "UNIQ_KEY\x01M\x02remora-half\x011 order-7\x02"), broker.Half{}},
		{"committed", stored("orders", 1000, "UNIQ_KEY\x01M\x02remora-half\x011 order-7\x02"), broker.Half{}},
		{"not numbered", stored(halfTopic, 1000, "UNIQ_KEY\x01M\x02remora-half\x01order-7\x02"), broker.Half{}},
		{"of somebody else", stored(halfTopic, 1000, "UNIQ_KEY\x01M\x02"), broker.Half{}},
		{"cut", stored(halfTopic, 1000, "")[:20], broker.Half{}},
		{"nothing", nil, broker.Half{}},
	} {
		if got := halfAt(c.bytes, place); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
