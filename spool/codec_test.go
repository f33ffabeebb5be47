package spool

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
)

// Each codec is fuzzed in the same way: bytes behind a right CRC never make it
// panic, and what it reads is what it writes and reads again. testdata/fuzz has
// one of each kind.

// stable fails when v is not decoded to the same again after it was encoded.
// Bytes that are refused have to be so with errDamaged.
func stable[T any](t *testing.T, body []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	v, err := decode(seal(bytes.Clone(body)))
	if err != nil {
		if !errors.Is(err, errDamaged) && !errors.Is(err, ErrFormat) && !errors.Is(err, message.ErrCorrupt) && !errors.Is(err, message.ErrVersion) {
			t.Fatalf("refused with %v", err)
		}
		return
	}
	again, err := decode(encode(v))
	if err != nil || !reflect.DeepEqual(again, v) {
		t.Fatalf("%+v became %+v, %v", v, again, err)
	}
}

func FuzzHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, decodeHead, func(h head) []byte { return h.encode() })
	})
}

func FuzzLane(f *testing.F) {
	type durable struct {
		topic             string
		counts            counts
		cursor, attempted uint64
		numbers           numbering
		exceptions        uint64
		resent            uint64
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decode := func(b []byte) (durable, error) {
			l, err := decodeLane(7, b)
			if err != nil {
				return durable{}, err
			}
			return durable{l.topic, l.counts, l.cursor, l.attempted, l.numbers, l.exceptions, l.resent}, nil
		}
		stable(t, b, decode, func(d durable) []byte {
			return (&lane{topic: d.topic, counts: d.counts, cursor: d.cursor, attempted: d.attempted, numbers: d.numbers, exceptions: d.exceptions, resent: d.resent}).encode()
		})
	})
}

func FuzzIndex(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, decodeIndex, index.encode) })
}

func FuzzBitmap(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, decodeBitmap, (*bitmap).encode) })
}

func FuzzKeys(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, decodeKeys, encodeKeys) })
}

func FuzzExceptions(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, decodeExceptions, encodeExceptions) })
}

func FuzzChunkSet(f *testing.F) {
	decode := func(b []byte) (payload, error) {
		set, chunks, err := decodeChunkSet(b)
		return payload{set: set, chunks: chunks}, err
	}
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b, decode, func(p payload) []byte { return p.encode() }) })
}

func FuzzOrder(f *testing.F) {
	const first = 4090
	type order struct {
		count int
		seqs  []uint64
	}
	decode := func(b []byte) (o order, err error) {
		o.count, o.seqs, err = decodeOrder(first, b)
		return o, err
	}
	f.Add([]byte{3, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, decode, func(o order) []byte { return encodeOrder(o.count, first, o.seqs) })
	})
}

// FuzzKey reads anything as the key of an entry: it has a name, and a key that
// carries what its entry is about is written again as it was.
func FuzzKey(f *testing.F) {
	for prefix, size := range keySizes {
		f.Add(append([]byte(prefix), make([]byte, size-len(prefix))...))
	}
	f.Add(exceptionKey(1, 2, 3, 4))
	f.Add((&retainedEntry{bucket: 1, seq: 2, topic: 3, kind: retainedBlock, bytes: 4}).key())
	f.Fuzz(func(t *testing.T, k []byte) {
		if nameOf(k) == "" || !fits(k) {
			return
		}
		switch {
		case bytes.HasPrefix(k, retainPrefix):
			x, err := decodeRetained(k, nil)
			if err != nil || !bytes.Equal(x.key(), k) {
				t.Fatalf("%x became %x (%v)", k, x.key(), err)
			}
			_, _ = decodeRetained(k, seal(bytes.Clone(k[2:])))
		case bytes.HasPrefix(k, exceptPrefix):
			if again := exceptionKey(tail64(k, 2), tail32(k, 10), tail64(k, 14), exceptionCount(k)); !bytes.Equal(again, k) {
				t.Fatalf("%x became %x", k, again)
			}
		}
	})
}

func FuzzReceipts(f *testing.F) {
	decode := func(b []byte) (all []receipt, err error) {
		err = receipts(b, func(r receipt) bool { all = append(all, r); return true })
		return all, err
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, decode, func(all []receipt) (b []byte) {
			for _, r := range all {
				b = appendReceipt(b, &r)
			}
			return seal(b)
		})
	})
}

func FuzzDeadLetter(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		stable(t, b, decodeDead, func(d deadLetter) []byte {
			return encodeDead(&ending{receipt: d.receipt}, d.reason, d.record)
		})
	})
}

func FuzzBlock(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []message.Record
		err := records(b, func(r message.Record) { all = append(all, r) })
		if err != nil {
			return
		}
		again := newBlock(1, &message.Message{Seq: 1}, nil)
		for i := range all {
			if all[i].PayloadSize > 0 {
				return
			}
			again.add(&newMessage{msg: &all[i].Message})
		}
		n := 0
		if err := records(again.value, func(r message.Record) {
			if !reflect.DeepEqual(r, all[n]) {
				t.Fatalf("%+v became %+v", all[n], r)
			}
			n++
		}); len(all) > 0 && err != nil || n != len(all) {
			t.Fatalf("%d of %d records: %v", n, len(all), err)
		}
	})
}

// One of each: what the seeds are made of, and what each codec has to carry whole.
func TestCodecsCarryEverything(t *testing.T) {
	at := time.UnixMilli(1_760_000_000_123)
	id := message.NewID(message.SpoolID{1, 2, 3, 4, 5}, 6, 7, at)
	m := &message.Message{
		ID: id, Seq: 7, TopicSeq: 1 << 40, AcceptedAt: at, Topic: "t", Tag: "tag", Keys: []string{"k"}, OrderingKey: "o",
		ContentType: "text/plain", TraceParent: "00-0", Properties: []message.Property{{Name: "p", Value: "ü"}}, Body: []byte{0, 255}, TTL: time.Minute,
	}
	r := receipt{seq: 7, Receipt: message.Receipt{
		ID: id, Topic: "t", State: message.StateConfirmed, AcceptedAt: at, SettledAt: at, Attempts: 3, LastError: "no", MaybeSent: true,
		Confirmation: &message.Confirmation{MessageID: "other", OffsetMessageID: "o", Queue: "b/0", Offset: -1},
	}}
	for range 20 {
		r.History.Add(message.Event{At: at, Name: "attempt", Outcome: message.OutcomeUnknown, Detail: "no"})
	}
	own := r
	own.Confirmation = &message.Confirmation{MessageID: id.String(), OffsetMessageID: "o", Queue: "b/0", Offset: 1 << 40}

	h := head{spoolID: message.SpoolID{1, 2, 3, 4, 5}, device: 1 << 63, inode: 2, epoch: message.MaxEpoch, highWater: 1 << 40, lowRange: 4, topics: 5, keysGone: 6, damage: 7, format: 2, clock: 8, wall: 9}
	got, err := decodeHead(h.encode())
	carried(t, "head", got, h, err)

	l := &lane{id: 9, topic: "t", counts: counts{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, cursor: 9, attempted: 10, numbers: numbering{[]Origin{{message.SpoolID{1}, 11}, {message.SpoolID{2}, 1 << 40}}, 12}, exceptions: 13, resent: 14}
	l2, err := decodeLane(9, l.encode())
	carried(t, "lane", []any{l2.id, l2.topic, l2.counts, l2.cursor, l2.attempted, l2.numbers, l2.exceptions, l2.resent, l2.attemptedAtOpen}, []any{l.id, l.topic, l.counts, l.cursor, l.attempted, l.numbers, l.exceptions, l.resent, l.attempted}, err)

	x, err := decodeIndex(index{1 << 31, 65535, message.SpoolID{1, 2, 3, 4, 5}, 1 << 40}.encode())
	carried(t, "index", x, index{1 << 31, 65535, message.SpoolID{1, 2, 3, 4, 5}, 1 << 40}, err)

	xs := []Exception{{id.Spool(), 1 << 40, id, message.StateLost, at, 1 << 41}, {id.Spool(), 0, id, message.StateCancelled, at, 1}}
	xs2, err := decodeExceptions(encodeExceptions(xs))
	carried(t, "exceptions", xs2, xs, err)

	keys := []keyEntry{{keyHash{1}, keyRef{2, 3, id, 4}}, {keyHash{5}, keyRef{6, 7, id, 8}}}
	k2, err := decodeKeys(encodeKeys(keys))
	carried(t, "keys", k2, keys, err)

	b := new(bitmap)
	b.set(0)
	b.set(4095)
	b2, err := decodeBitmap(b.encode())
	carried(t, "bitmap", b2, b, err)
	b2, err = decodeBitmap(fullBitmap.encode())
	carried(t, "full bitmap", b2, fullBitmap, err)

	p := payload{set: 1 << 63, chunks: 32}
	set, chunks, err := decodeChunkSet(p.encode())
	carried(t, "chunk set", payload{set: set, chunks: chunks}, p, err)

	var rs []receipt
	err = receipts(seal(appendReceipt(appendReceipt(nil, &r), &own)), func(r receipt) bool { rs = append(rs, r); return true })
	carried(t, "receipts", rs, []receipt{r, own}, err)

	d, err := decodeDead(encodeDead(&ending{receipt: r}, "REFUSED", message.Record{Message: *m}))
	carried(t, "dead letter", d, deadLetter{reason: "REFUSED", receipt: r, record: message.Record{Message: *m}}, err)

	late := &newMessage{msg: m, key: keyHash{1, 2}, fingerprint: 3, deliverAt: time.UnixMilli(1 << 41), due: due{clockElapsed, 1 << 42, m.Seq}}
	y, err := decodeDelayed(encodeDelayed(nil, late))
	carried(t, "delayed message", y, delayed{due: late.due, deliverAt: late.deliverAt, key: late.key, fingerprint: late.fingerprint, record: message.Record{Message: *m}}, err)

	bl := newBlock(1, m, nil)
	bl.add(&newMessage{msg: m})
	bl.add(&newMessage{msg: m, external: message.AppendPayload(nil, m)})
	var all []message.Record
	err = records(bl.value, func(r message.Record) { all = append(all, r) })
	carried(t, "block", all, []message.Record{{Message: *m}, message.ExternalRecord(m, message.AppendPayload(nil, m))}, err)
}

// TestAUsualHistoryIsNotWritten: whatever is not quite usual is.
func TestAUsualHistoryIsNotWritten(t *testing.T) {
	accepted, confirmed, settled := time.UnixMilli(1<<40), time.UnixMilli(1<<40+3), time.UnixMilli(1<<40+20)
	usual := func() receipt {
		return receipt{7, message.Receipt{
			Topic: "orders", TopicSeq: 3, State: message.StateConfirmed, AcceptedAt: accepted, SettledAt: settled, Attempts: 1,
			Confirmation: &message.Confirmation{MessageID: "theirs", OffsetMessageID: "AB", Queue: "b/1", Offset: 5},
			History:      message.History{First: usualHistory(nil, accepted, confirmed)},
		}}
	}
	short := func(change func(r *receipt)) bool {
		t.Helper()
		r := usual()
		change(&r)
		part := appendReceipt(nil, &r)
		var got []receipt
		err := receipts(seal(part), func(r receipt) bool { got = append(got, r); return true })
		carried(t, "receipt", got, []receipt{r}, err)
		return !bytes.Contains(part, []byte("accepted"))
	}
	for name, change := range map[string]func(r *receipt){
		"as it is":           func(*receipt) {},
		"without a number":   func(r *receipt) { r.TopicSeq = 0 },
		"settled before":     func(r *receipt) { r.SettledAt = accepted.Add(-time.Hour) },
		"confirmed in vain":  func(r *receipt) { r.Confirmation = nil },
		"attempted long ago": func(r *receipt) { r.Attempts, r.MaybeSent = 3, true },
		"for a timer":        func(r *receipt) { r.DeliverAt = settled.Add(time.Hour) },
		"a timer's, without": func(r *receipt) { r.DeliverAt, r.TopicSeq = settled.Add(time.Hour), 0 },
	} {
		if !short(change) {
			t.Errorf("%s: its history is written", name)
		}
	}
	for name, change := range map[string]func(r *receipt){
		"another state":        func(r *receipt) { r.State = message.StateCancelled },
		"accepted later":       func(r *receipt) { r.AcceptedAt = accepted.Add(time.Millisecond) },
		"an event less":        func(r *receipt) { r.History.First = r.History.First[:2] },
		"an event more":        func(r *receipt) { r.History.Add(message.Event{At: settled, Name: "retried"}) },
		"events that are gone": func(r *receipt) { r.History.Skipped = 1 },
		"events at its end":    func(r *receipt) { r.History.Last = []message.Event{{At: settled, Name: "more"}} },
		"an attempt before":    func(r *receipt) { r.History.First[1].At = accepted },
		"another outcome":      func(r *receipt) { r.History.First[1].Outcome = message.OutcomeUnknown },
		"another name":         func(r *receipt) { r.History.First[1].Name = "attempted" },
		"a detail":             func(r *receipt) { r.History.First[2].Detail = "why" },
	} {
		if short(change) {
			t.Errorf("%s: its history is not written", name)
		}
	}
}

func carried(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v became %+v, %v", what, want, got, err)
	}
}

// Every flipped bit and every cut is noticed.
func TestDamageOfAnEntryIsNoticed(t *testing.T) {
	h := head{highWater: 5}
	whole := h.encode()
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeHead(b); !errors.Is(err, errDamaged) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range whole {
		if _, err := decodeHead(whole[:n]); !errors.Is(err, errDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	h := head{highWater: 5}
	b := h.encode()
	b[0] = Format + 1
	if _, err := decodeHead(seal(b[:len(b)-4])); !errors.Is(err, ErrFormat) {
		t.Fatal(err)
	}
}
