package dedupe

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
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

// leaseSlack is by how much less than was asked for a lease may last: more than an answer
// takes as a rule, and less than what callers add to the time for which they hold a key.
const leaseSlack = 3 * time.Second

// Whole makes sure that a mark that was begun is held for the lease that was asked for,
// from now on. It may have begun long ago: by a call whose answer was lost, or in a store
// that was slow. Its caller would be at work when another gets the key. Others are as
// they were. Where somebody has got the key it is in progress.
func Whole(ctx context.Context, s Store, k Key, m Mark, lease time.Duration) (Mark, error) {
	if m.Verdict != Begun || time.Until(m.Until) >= lease-leaseSlack {
		return m, nil
	}
	until := time.Now().Add(lease)
	switch err := s.Extend(ctx, k, m, lease); {
	case errors.Is(err, ErrFenced):
		return Mark{Until: time.Now()}, nil
	case err != nil:
		return Mark{}, err
	}
	m.Until = until
	return m, nil
}
