package spool

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/message"
)

func testRing(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.Parse(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func roomFor(size int) []byte { return make([]byte, 0, size) }

func blockOf(bodies ...string) []byte {
	b := newBlock(1, &message.Message{Seq: 1}, nil)
	for i, body := range bodies {
		b.add(&newMessage{msg: &message.Message{Seq: uint64(i + 1), Topic: "t", Body: []byte(body)}})
	}
	return b.value
}

// What is written is what is read, and fits into the space that was asked for.
func TestStoredValuesCarryEverything(t *testing.T) {
	d := &store{ring: testRing(t)}
	for key, value := range map[string][]byte{
		string(topicKey(1)):      seal([]byte("a topic")),
		string(indexKey(1)):      seal(nil),
		string(headKey):          seal([]byte("a head")),
		string(blockKey(1, 1)):   blockOf("a", "", strings.Repeat("b", 1000)),
		string(blockKey(1, 7)):   blockOf(),
		string(chunkKey(1, 7)):   encodeChunk(make([]byte, 128<<10)),
		string(deadKey(1, 7)):    {},
		string(receiptPrefix):    make([]byte, 70<<10),
		string(dedupeKey(1, 12)): encodeKeys([]keyEntry{{hash: keyHash{1}}}),
	} {
		asked := 0
		v := d.encrypt([]byte(key), value, func(size int) []byte {
			asked = size
			return roomFor(size)
		})
		if asked != 0 && len(v) != asked {
			t.Errorf("%q: %d bytes asked for, %d written", key, asked, len(v))
		}
		if got := d.decrypt([]byte(key), v); !bytes.Equal(got, value) {
			t.Errorf("%q: %d bytes became %d", key, len(value), len(got))
		}
		if got := d.decrypt([]byte(key), value); !bytes.Equal(got, value) {
			t.Errorf("%q: a plain value became another", key)
		}
	}
}

// Every flipped bit of an encrypted value is damage, of a block to one record.
func TestDamageOfAnEncryptedValueIsNoticed(t *testing.T) {
	d := &store{ring: testRing(t)}
	key := topicKey(3)
	whole := d.encrypt(key, newLane(3, "t").encode(), roomFor)
	for bit := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeLane(3, d.decrypt(key, b)); !errors.Is(err, errDamaged) {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	key = blockKey(1, 1)
	whole = d.encrypt(key, blockOf("0", "1", "2"), roomFor)
	for bit := blockHeader * 8; bit < len(whole)*8; bit++ {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		read := 0
		err := records(d.decrypt(key, b), func(message.Record) { read++ })
		if err == nil || read != 2 {
			t.Errorf("bit %d: %d records, %v", bit, read, err)
		}
	}
}

func TestNewerVersionOfAnEntryIsRefused(t *testing.T) {
	v := newLane(3, "t").encode()
	body, _, _ := unsealAny(v)
	for _, version := range []byte{FormatVersion + 1, 0, versionEncrypted} {
		if _, err := decodeLane(3, sealAs(bytes.Clone(body), version)); !errors.Is(err, ErrFormat) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// Whatever lies in the database, reading it ends, and yields nothing that was
// not encrypted at that place.
func FuzzDecryptBlock(f *testing.F) {
	ring, key := testRing(f), blockKey(1, 1)
	whole := encryptBlock(ring, nil, key, blockOf("body 0", "body 1"))
	f.Add(whole, 0)
	f.Add(whole, 20)
	f.Add([]byte{0, 1, 2}, 0)
	f.Add(blockOf("plain"), 0)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at >= 0 && at < len(whole) { // a whole block with something inside
			b = append(append(bytes.Clone(whole[:at]), b...), whole[at:]...)
		}
		plain := decryptBlock(ring, key, b)
		if !isEncryptedBlock(b) {
			return
		}
		_ = records(plain, func(r message.Record) {
			if body := string(r.Body); body != "body 0" && body != "body 1" {
				t.Fatalf("%x yields %q", b, body)
			}
		})
	})
}
