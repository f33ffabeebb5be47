package notes

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// The keys of the database. Numbers are big endian, names end with a zero byte.
//
//	g/p group 0 queue        uvarints: low, seen
//	g/b group 0 queue 0 n    a block of bits, words big endian
//	g/r number               a reason: hash, uvarints: ms since 1970, attempts; cause
//
// A value is a version byte, the above and a CRC32C, big endian; or, encrypted,
// another version byte and the box of all that.
const (
	prefix       = "g/"
	placePrefix  = prefix + "p"
	blockPrefix  = prefix + "b"
	reasonPrefix = prefix + "r"

	version   = 1
	encrypted = 0xe0 | version
)

func placeKey(p place) []byte { return []byte(placePrefix + p.group + "\x00" + p.queue) }

func blockKey(p place, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte(blockPrefix+p.group+"\x00"+p.queue+"\x00"), uint64(n))
}

func reasonKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(reasonPrefix), number)
}

var (
	errDamaged = errors.New("a note of a dead letter is damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// seal makes the value of an entry.
func (s *Store) seal(p pair) []byte {
	v := append([]byte{version}, p.plain...)
	v = binary.BigEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))
	if s.keys == nil {
		return v
	}
	return s.keys.Encrypt([]byte{encrypted}, v, p.key)
}

// open returns what was sealed. current: it would be sealed so now.
func (s *Store) open(key, value []byte) (plain []byte, current bool, err error) {
	current = s.keys == nil
	if s.keys != nil && len(value) > 0 && value[0] == encrypted {
		id, _ := keyring.IDOf(value[1:])
		current = id == s.keys.Current()
		if value, err = s.keys.Decrypt(value[1:], key); err != nil {
			return nil, false, err
		}
	}
	n := len(value) - 4
	if n < 1 || value[0] != version || crc32.Checksum(value[:n], castagnoli) != binary.BigEndian.Uint32(value[n:]) {
		return nil, false, errDamaged
	}
	return value[1:n], current, nil
}

func (p *progress) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(p.low)), uint64(p.seen))
}

func (b *block) encode() (out []byte) {
	for _, word := range b {
		out = binary.BigEndian.AppendUint64(out, word)
	}
	return out
}

func (n numbered) encode() []byte {
	out := binary.AppendUvarint(slices.Clone(n.hash[:]), uint64(n.At.UnixMilli()))
	out = binary.AppendUvarint(out, uint64(n.Attempts))
	return append(out, n.Cause...)
}

// load reads all that is on disk, and returns what would be written otherwise now.
func (s *Store) load() (older []*op, err error) {
	err = s.db.Scan(kv.Scan{Prefix: []byte(prefix), Whole: true}, func(key, value []byte) (bool, error) {
		plain, current, err := s.open(key, value)
		var gone [][]byte
		if err == nil {
			gone, err = s.take(string(key), plain)
		}
		switch {
		case err != nil:
			s.damaged.Add(1)
		case len(gone) > 0:
			older = append(older, &op{drops: gone})
		case !current:
			older = append(older, &op{sets: []pair{{slices.Clone(key), slices.Clone(plain)}}})
		}
		return true, nil
	})
	return older, err
}

// take decodes one entry, and returns the keys of those that it replaces.
func (s *Store) take(key string, plain []byte) (gone [][]byte, err error) {
	switch rest := key[min(len(key), len(placePrefix)):]; {
	case strings.HasPrefix(key, placePrefix):
		n, err := uvarints(plain, 2)
		if err != nil {
			return nil, err
		}
		p := s.loading(placeOf(rest))
		p.low, p.seen = n[0], n[1]
	case strings.HasPrefix(key, blockPrefix):
		return nil, s.takeBlock(rest, plain)
	case strings.HasPrefix(key, reasonPrefix) && len(rest) == 8:
		return s.takeReason(binary.BigEndian.Uint64([]byte(rest)), plain)
	default:
		return nil, errDamaged
	}
	return nil, nil
}

func placeOf(text string) place {
	group, queue, _ := strings.Cut(text, "\x00")
	return place{group, queue}
}

// loading is a place while it is loaded.
func (s *Store) loading(p place) *progress {
	if s.places[p] == nil {
		s.places[p] = &progress{}
	}
	return s.places[p]
}

func (s *Store) takeBlock(rest string, plain []byte) error {
	at := len(rest) - 9
	if at < 0 || rest[at] != 0 || len(plain) != 8*len(block{}) {
		return errDamaged
	}
	b := &block{}
	for i := range b {
		b[i] = binary.BigEndian.Uint64(plain[8*i:])
	}
	p := s.loading(placeOf(rest[:at]))
	if p.blocks == nil {
		p.blocks = map[int64]*block{}
	}
	p.blocks[int64(binary.BigEndian.Uint64([]byte(rest[at+1:])))] = b
	return nil
}

func (s *Store) takeReason(number uint64, plain []byte) (gone [][]byte, err error) {
	if len(plain) < len(hash{}) {
		return nil, errDamaged
	}
	rest := plain[len(hash{}):]
	n, err := uvarints(rest, 2)
	if err != nil {
		return nil, err
	}
	cause := rest[len(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n[0])), uint64(n[1]))):]
	for _, old := range s.reasons.put(number, numbered{hash(plain[:16]), Reason{string(cause), int(n[1]), time.UnixMilli(n[0])}}, MaxReasons) {
		gone = append(gone, reasonKey(old))
	}
	return gone, nil
}

func uvarints(b []byte, count int) (all []int64, err error) {
	for range count {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errDamaged
		}
		all, b = append(all, int64(v)), b[n:]
	}
	return all, nil
}
