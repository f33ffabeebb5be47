package message_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
)

func fullMessage() message.Message {
	at := time.UnixMilli(1_767_323_045_678)
	return message.Message{
		ID: message.NewID(spoolID, 7, 99, at), Seq: 99, TopicSeq: 55, AcceptedAt: at,
		Topic: "orders", Tag: "created", Keys: []string{"a", "b"}, OrderingKey: "customer 7",
		ContentType: "application/json", ContentEncoding: "gzip", TraceParent: "00-x-01", TraceState: "a=b",
		Properties: []message.Property{{Name: "A", Value: "ü"}, {Name: "b", Value: "\t\n"}}, Body: []byte("\x00\x01\xff"),
	}
}

func messages() map[string]message.Message {
	least := message.Message{AcceptedAt: time.UnixMilli(0)}
	mortal, delayed := fullMessage(), fullMessage()
	mortal.TTL, mortal.ExpiresAt = message.MaxTTL, time.UnixMilli(1_767_999_045_678)
	delayed.TTL = time.Millisecond
	large := fullMessage()
	large.TopicSeq, large.Seq, large.Body = math.MaxUint64, math.MaxUint64, bytes.Repeat([]byte{0xab}, 1<<20)
	timed, timedAt := fullMessage(), least
	timed.Timer.Delay, timedAt.Timer.At = 1500*time.Millisecond, time.UnixMilli(1_767_999_045_678)
	far := fullMessage()
	far.AcceptedAt = time.UnixMilli(math.MaxInt64 / 1_000_000)
	return map[string]message.Message{"full": fullMessage(), "nothing": least, "large": large, "far future": far, "TTL": mortal, "TTL of a delayed one": delayed, "timer": timed, "timer at": timedAt}
}

func TestRecordRoundTrip(t *testing.T) {
	for name, m := range messages() {
		t.Run(name, func(t *testing.T) {
			b := message.AppendRecord([]byte("before"), &m)[len("before"):]
			after := append(bytes.Clone(b), "after"...)
			r, n, err := message.DecodeRecord(after)
			if err != nil || n != len(b) {
				t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
			}
			if !reflect.DeepEqual(r.Message, m) || r.PayloadSize != 0 {
				t.Errorf("read %+v, want %+v", r.Message, m)
			}
			clear(after)
			if !reflect.DeepEqual(r.Message, m) {
				t.Error("the message shares memory with what it was read from")
			}
		})
	}
}

func TestExternalRecordRoundTrip(t *testing.T) {
	for name, m := range messages() {
		t.Run(name, func(t *testing.T) {
			payload := message.AppendPayload(nil, &m)
			r, _, err := message.DecodeRecord(message.AppendExternalRecord(nil, &m, payload))
			if err != nil {
				t.Fatal(err)
			}
			if want := message.ExternalRecord(&m, payload); !reflect.DeepEqual(r, want) {
				t.Errorf("read %+v, want %+v", r, want)
			}
			for _, wrong := range [][]byte{nil, payload[1:], append(bytes.Clone(payload), 0), bytes.Repeat([]byte{1}, len(payload))} {
				if err := r.SetPayload(wrong); !errors.Is(err, message.ErrCorrupt) || !strings.Contains(err.Error(), m.ID.String()) {
					t.Errorf("payload of %d other bytes: %v", len(wrong), err)
				}
			}
			if err := r.SetPayload(payload); err != nil || !reflect.DeepEqual(r.Message, m) {
				t.Errorf("with its payload: %+v, %v", r.Message, err)
			}
		})
	}
}

// TestDamageIsFound: each bit of a record, flipped, and each cut.
func TestDamageIsFound(t *testing.T) {
	m := fullMessage()
	for _, b := range [][]byte{message.AppendRecord(nil, &m), message.AppendExternalRecord(nil, &m, message.AppendPayload(nil, &m))} {
		for bit := range 8 * len(b) {
			damaged := bytes.Clone(b)
			damaged[bit/8] ^= 1 << (bit % 8)
			if _, _, err := message.DecodeRecord(damaged); !errors.Is(err, message.ErrCorrupt) {
				t.Errorf("bit %d of %d flipped: %v", bit, 8*len(b), err)
			}
		}
		for n := range b {
			if _, _, err := message.DecodeRecord(b[:n]); !errors.Is(err, message.ErrCorrupt) {
				t.Errorf("cut to %d bytes: %v", n, err)
			}
		}
	}
}

// seal makes a record of any version, flags and content, with a CRC that fits.
func seal(version, flags byte, content []byte) []byte {
	n := uint32(len(content))
	b := append([]byte{version, flags, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n>>21) & 0x7f}, content...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// content returns what lies between the length and the CRC of a record.
func content(record []byte) []byte { return record[6 : len(record)-4] }

func TestNewerFormatIsRefused(t *testing.T) {
	m := fullMessage()
	inside := content(message.AppendRecord(nil, &m))
	if _, _, err := message.DecodeRecord(seal(1, 2, inside)); err != nil {
		t.Fatalf("seal makes no record: %v", err)
	}
	for _, b := range [][]byte{seal(2, 0, inside), seal(0, 0, inside), seal(1, 8, inside), seal(1, 0x80, inside)} {
		if _, _, err := message.DecodeRecord(b); !errors.Is(err, message.ErrVersion) {
			t.Errorf("version %d, flags %#x: %v, want ErrVersion", b[0], b[1], err)
		}
	}
}

// TestFormatIsPinned: a spool written by an older program must stay readable.
func TestFormatIsPinned(t *testing.T) {
	m := message.Message{
		ID: message.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Seq: 300, AcceptedAt: time.UnixMilli(1_767_323_045_678),
		Topic: "orders", Tag: "t", Keys: []string{"k"}, OrderingKey: "o", ContentType: "a/b",
		Properties: []message.Property{{Name: "p", Value: "v"}}, Body: []byte("body"),
	}
	const want = "0100b6808000ac020102030405060708090a0b0c0d0e0f10ae9ea6e5b733066f7264657273016f017403612f6200000001016b0101700176626f647967c5f01d"
	if got := fmt.Sprintf("%x", message.AppendRecord(nil, &m)); got != want {
		t.Errorf("the format has changed without a new version:\n got %s\nwant %s", got, want)
	}
	m.TopicSeq = 300
	const numbered = "0102b8808000ac02ac020102030405060708090a0b0c0d0e0f10ae9ea6e5b733066f7264657273016f017403612f6200000001016b0101700176626f6479c74224c2"
	if got := fmt.Sprintf("%x", message.AppendRecord(nil, &m)); got != numbered {
		t.Errorf("the format has changed without a new version:\n got %s\nwant %s", got, numbered)
	}
	m.TTL, m.ExpiresAt = time.Minute, time.UnixMilli(1_767_323_105_678)
	const mortal = "0106c1808000ac02ac020102030405060708090a0b0c0d0e0f10ae9ea6e5b733e0d4038ef3a9e5b733066f7264657273016f017403612f6200000001016b0101700176626f64797dadb381"
	if got := fmt.Sprintf("%x", message.AppendRecord(nil, &m)); got != mortal {
		t.Errorf("the format has changed without a new version:\n got %s\nwant %s", got, mortal)
	}
}

// TestImpossibleTTLIsDamage: none, too long, or one that ends beyond all time.
func TestImpossibleTTLIsDamage(t *testing.T) {
	m := message.Message{TTL: time.Second, ExpiresAt: time.UnixMilli(9)}
	inside := content(message.AppendRecord(nil, &m))
	at := 1 + len(m.ID) + len(binary.AppendUvarint(nil, uint64(m.AcceptedAt.UnixMilli()))) // of its TTL
	for _, ttl := range [][2]uint64{{0, 9}, {uint64(message.MaxTTL.Milliseconds()) + 1, 9}, {1000, math.MaxUint64}} {
		b := binary.AppendUvarint(binary.AppendUvarint(bytes.Clone(inside[:at]), ttl[0]), ttl[1])
		b = append(b, inside[at+2+1:]...)
		if _, _, err := message.DecodeRecord(seal(1, 4, b)); !errors.Is(err, message.ErrCorrupt) {
			t.Errorf("%v: %v", ttl, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, m := range messages() {
		if len(m.Body) > 1000 {
			m.Body = m.Body[:1000]
		}
		inside := content(message.AppendRecord(nil, &m))
		outside := content(message.AppendExternalRecord(nil, &m, message.AppendPayload(nil, &m)))
		f.Add(byte(0), inside, false)
		f.Add(byte(1), outside, false)
		f.Add(byte(0), inside, true)
	}
	f.Fuzz(func(t *testing.T, flags byte, inside []byte, bare bool) {
		b := seal(1, flags, inside) // so that the CRC does not keep the fuzzer out
		if bare {
			b = inside
		}
		if len(inside) >= 1<<28 {
			return
		}
		r, n, err := message.DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, message.ErrCorrupt) && !errors.Is(err, message.ErrVersion) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if n > len(b) || r.PayloadSize < 0 {
			t.Fatalf("%d of %d bytes, payload of %d", n, len(b), r.PayloadSize)
		}
		if r.PayloadSize == 0 {
			checkAgain(t, r.Message)
		}
	})
}

// checkAgain asserts that what was read can be written and read again.
func checkAgain(t *testing.T, m message.Message) {
	t.Helper()
	again, _, err := message.DecodeRecord(message.AppendRecord(nil, &m))
	if err != nil || !reflect.DeepEqual(again.Message, m) {
		t.Fatalf("%+v becomes %+v, %v", m, again.Message, err)
	}
}

func FuzzRecordRoundTrip(f *testing.F) {
	f.Add(uint64(1), int64(0), "orders", "tag", "key", "ordering", "name", "value", []byte("body"))
	f.Fuzz(func(t *testing.T, seq uint64, ms int64, topic, tag, key, ordering, name, value string, body []byte) {
		m := message.Message{
			Seq: seq, AcceptedAt: time.UnixMilli(ms), Topic: topic, Tag: tag, Keys: []string{key, ""}, OrderingKey: ordering,
			Properties: []message.Property{{Name: name, Value: value}}, Body: append([]byte(nil), body...),
		}
		checkAgain(t, m)
	})
}
