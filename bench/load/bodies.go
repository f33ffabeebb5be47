package load

import (
	"crypto/rand"
	"sync"
)

// block is random, so that no compression and no file system makes bodies
// smaller than they are.
var block = sync.OnceValue(func() []byte {
	b := make([]byte, 4<<20)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read documents it
	return b
})

// Bodies cuts bodies from a block of random bytes, each from another place. One
// goroutine uses it.
type Bodies struct {
	block []byte
	size  int
	at    int
}

const stride = 4093 // prime: neighbours in time share few bytes

// NewBodies returns bodies of so many bytes; connections with other numbers cut
// them elsewhere.
func NewBodies(size, connection int) *Bodies {
	b := &Bodies{block: block(), size: size}
	b.at = connection * 65_537 % (len(b.block) - size)
	return b
}

// Next returns a body, which is not to be changed.
func (b *Bodies) Next() []byte {
	b.at = (b.at + stride) % (len(b.block) - b.size)
	return b.block[b.at : b.at+b.size]
}
