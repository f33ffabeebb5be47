package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"sync/atomic"
)

const (
	keySize   = 32
	nonceSize = 24
	half      = nonceSize / 2
	tagSize   = 16
)

// key is one line of the file.
type key struct {
	id    ID
	block cipher.Block // derives the keys of sessions
	mask  [aes.BlockSize]byte

	last atomic.Pointer[derived] // what was decrypted last is mostly of one session
}

// derived is the key of one session.
type derived struct {
	prefix [half]byte
	aead   cipher.AEAD
}

func newKey(secret []byte) *key {
	k := &key{block: blockOf(expand(secret, "encrypt", keySize))}
	copy(k.id[:], expand(secret, "name", len(k.id)))
	k.mask = subkey(k.block)
	return k
}

// expand derives a secret of n bytes for one purpose.
func expand(secret []byte, purpose string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, nil, "remora/1 "+purpose, n)
	if err != nil {
		panic(err) // n is above 255 hashes
	}
	return b
}

func blockOf(k []byte) cipher.Block {
	b, err := aes.NewCipher(k)
	if err != nil {
		panic(err) // the size is wrong
	}
	return b
}

// subkey is CMAC's K1: AES of zeros, doubled in GF(2^128).
func subkey(b cipher.Block) (k1 [aes.BlockSize]byte) {
	b.Encrypt(k1[:], k1[:])
	carry := byte(0)
	for i := len(k1) - 1; i >= 0; i-- {
		next := k1[i] >> 7
		k1[i] = k1[i]<<1 | carry
		carry = next
	}
	k1[len(k1)-1] ^= 0x87 * carry
	return k1
}

// derive computes the key of a session as XAES-256-GCM does: CMAC in counter
// mode (NIST SP 800-108) over the first half of the nonce.
func (k *key) derive(prefix [half]byte) *derived {
	if d := k.last.Load(); d != nil && d.prefix == prefix {
		return d
	}
	var out [keySize]byte
	for n := range 2 {
		m := out[n*aes.BlockSize:][:aes.BlockSize]
		copy(m, []byte{0, byte(n + 1), 'X', 0})
		copy(m[4:], prefix[:])
		subtle.XORBytes(m, m, k.mask[:])
		k.block.Encrypt(m, m)
	}
	aead, err := cipher.NewGCM(blockOf(out[:]))
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	d := &derived{prefix: prefix, aead: aead}
	k.last.Store(d)
	return d
}

func (k *key) decrypt(box, place []byte) ([]byte, error) {
	d := k.derive([half]byte(box[:half]))
	plain, err := d.aead.Open(nil, box[half:nonceSize], box[nonceSize:], place)
	if err != nil {
		return nil, ErrForged
	}
	return plain, nil
}

// sessionBoxes bounds how many boxes share a derived key.
const sessionBoxes = 1 << 30

// session encrypts under one derived key.
type session struct {
	id ID
	*derived
	used atomic.Int64
}

// current returns the session, a new one when there was none or it is used up.
func (r *Ring) current() *session {
	s := r.session.Load()
	if s != nil && s.used.Add(1) <= sessionBoxes {
		return s
	}
	var prefix [half]byte
	_, _ = rand.Read(prefix[:]) // never fails: crypto/rand.Read documents it
	next := &session{id: r.keys[0].id, derived: r.keys[0].derive(prefix)}
	next.used.Add(1)
	r.session.CompareAndSwap(s, next) // whoever comes second uses its own once
	return next
}

func (s *session) encrypt(dst, plain, place []byte) []byte {
	at := len(dst) + len(s.id)
	dst = append(append(dst, s.id[:]...), s.prefix[:]...)
	dst = append(dst, make([]byte, half)...)
	nonce := dst[at+half : at+nonceSize]
	_, _ = rand.Read(nonce)
	return s.aead.Seal(dst, nonce, plain, place)
}
