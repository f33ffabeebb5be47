package embedded

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/remora-mq/remora/message"
)

func FuzzDecodeEntry(f *testing.F) {
	e := &entry{id: msg(1).ID, position: 7, origin: 3, storedAt: 1, bornAt: 2, attempt: 4, unit: 5, chunks: 6, bytes: 8,
		record: message.AppendRecord(nil, msg(1))}
	f.Add(e.append(nil))
	f.Add((&entry{}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := decodeEntry(e.append(nil))
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}

func TestEveryFlippedBitOfAnEntryIsNoticed(t *testing.T) {
	e := &entry{id: msg(1).ID, position: 7, attempt: 1, record: message.AppendRecord(nil, msg(1))}
	good := e.append(nil)
	if len(good) > maxEnvelope+len(e.record) {
		t.Errorf("entry of %d bytes is larger than declared", len(good))
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		e, err := decodeEntry(bad)
		if err == nil {
			_, err = e.message(nil)
		}
		if err == nil {
			t.Fatalf("bit %d was flipped, and nobody noticed", bit)
		}
	}
}

func TestMetaRoundTrips(t *testing.T) {
	topic := &topic{name: "t", repeats: 1, bytes: 2, queues: []*queue{{3, 4, 4}, {0, 900, 900}}}
	got, err := decodeTopic("t", topic.append(nil))
	if err != nil || !reflect.DeepEqual(got, topic) {
		t.Errorf("topic became %+v, %v", got, err)
	}
	tr := &track{group: "g", topic: "t"}
	tr.lanes = []*lane{{track: tr, low: 5, next: 5, acked: 3}, {track: tr}}
	back, err := decodeTrack("g", "t", tr.append(nil))
	if err != nil || !reflect.DeepEqual(back, tr) {
		t.Errorf("track became %+v, %v", back, err)
	}
	for _, b := range [][]byte{nil, {2}, {1, 0x80}, {1, 1}} {
		if _, err := decodeTopic("t", b); err == nil {
			t.Errorf("topic meta %x was taken", b)
		}
		if _, err := decodeTrack("g", "t", b); err == nil {
			t.Errorf("progress %x was taken", b)
		}
	}
}
