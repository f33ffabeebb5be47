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

// bodies cuts bodies from the block, each from another place.
type bodies struct {
	block []byte
	size  int
	at    int
}

const stride = 4093 // prime: neighbours in time share few bytes

func newBodies(size, connection int) *bodies {
	b := &bodies{block: block(), size: size}
	b.at = connection * 65_537 % (len(b.block) - size)
	return b
}

func (b *bodies) next() []byte {
	b.at = (b.at + stride) % (len(b.block) - b.size)
	return b.block[b.at : b.at+b.size]
}
