package rocketmq

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// record is a message as MessageDecoder.encode of RocketMQ 5.3.3 lays it out.
func record(offset int64, stored time.Time, body, properties string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), 0xdaa320a7)
	b = append(b, make([]byte, 4+4+4)...) // CRC, queue, flag
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = append(b, make([]byte, 8+4+8+8)...)
	b = binary.BigEndian.AppendUint64(b, uint64(stored.UnixMilli()))
	b = append(b, make([]byte, 8+4+8)...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
	b = append(append(b, 1), 't')
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(properties))), properties...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestDecodeMessages(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	two := append(record(7, at, "one", "UNIQ_KEY\x01A\x02KEYS\x01k"), record(8, at, "", "")...)
	all, err := decodeMessages(two)
	must(t, err)
	if len(all) != 2 || all[0].Offset != 7 || string(all[0].Body) != "one" || !all[0].StoredAt.Equal(at) ||
		len(all[0].Properties) != 2 || all[0].Properties["UNIQ_KEY"] != "A" || all[1].Offset != 8 || len(all[1].Properties) != 0 {
		t.Errorf("got %+v", all)
	}
	for cut := 1; cut < len(two); cut++ {
		if _, err := decodeMessages(two[:cut]); cut != len(two)-len(record(8, at, "", "")) && !errors.Is(err, errTruncated) {
			t.Errorf("cut off after %d bytes: %v", cut, err)
		}
	}
}

// An empty queue has nothing to pull.
func TestPullOfAnEmptyQueue(t *testing.T) {
	shared.CreateTopic(t, "pulled", 1)
	if all, err := shared.Brokers[0].Pull("pulled", 0, 0); err != nil || len(all) > 0 {
		t.Errorf("got %v, %v", all, err)
	}
}
