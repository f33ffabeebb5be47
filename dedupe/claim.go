package dedupe

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync"
)

// Claim names one call of Begin. A store that is asked over a network writes it
// beside the mark: a call that is sent again because its answer was lost then
// finds that it holds the key already, where it would wait for its own lease.
type Claim uint64

// String is 16 hex digits.
func (c Claim) String() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(c)))
}

// Claims are those of one store. The zero value has none. Methods may be called
// from many goroutines.
type Claims struct {
	mu   sync.Mutex
	lost map[effect]Claim
}

// effect is what a claim is of: another content begins by itself.
type effect struct {
	key Key
	of  Fingerprint
}

// mostLost bounds the claims that are kept: over it any of them is forgotten, and
// its key waits for the end of a lease.
const mostLost = 4096

// Take returns the claim of a call that may have begun unheard, or else a new
// one. One caller gets it.
func (c *Claims) Take(k Key, f Fingerprint) Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := effect{k, f}
	if claim, lost := c.lost[e]; lost {
		delete(c.lost, e)
		return claim
	}
	return Claim(rand.Uint64())
}

// Lost notes a call whose answer did not come.
func (c *Claims) Lost(k Key, f Fingerprint, claim Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = map[effect]Claim{}
	}
	if len(c.lost) >= mostLost {
		for other := range c.lost {
			delete(c.lost, other)
			break
		}
	}
	c.lost[effect{k, f}] = claim
}
