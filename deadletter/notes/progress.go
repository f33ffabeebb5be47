package notes

import (
	"maps"
	"math/bits"
)

const (
	blockBits = 4096 // offsets of a block
	// blocksMost is how far settled offsets may lie beyond the low one, in blocks:
	// 2 MiB of bits.
	blocksMost = 4096
	// passMost is how many blocks one commit deletes.
	passMost = 64
)

// block is the offsets from a multiple of blockBits on: which are settled.
type block [blockBits / 64]uint64

func (b *block) has(offset int64) bool { return b[offset%blockBits/64]>>(offset%64)&1 == 1 }
func (b *block) set(offset int64)      { b[offset%blockBits/64] |= 1 << (offset % 64) }

func (b *block) count() (n int64) {
	for _, word := range b {
		n += int64(bits.OnesCount64(word))
	}
	return n
}

// progress is what is settled of a queue. One that was published is not changed.
type progress struct {
	low    int64            // all before it are
	seen   int64            // the highest next offset that was seen with a change
	blocks map[int64]*block // by offset/blockBits; from low on
}

func (p *progress) clone() *progress {
	return &progress{p.low, p.seen, maps.Clone(p.blocks)}
}

func (p *progress) has(offset int64) bool {
	if offset < p.low {
		return true
	}
	b := p.blocks[offset/blockBits]
	return b != nil && b.has(offset)
}

// settle sets one offset, and names the block that it is in.
func (p *progress) settle(offset int64, fresh map[int64]*block) {
	n := offset / blockBits
	if fresh[n] == nil {
		fresh[n] = &block{}
		if old := p.blocks[n]; old != nil {
			*fresh[n] = *old
		}
		if p.blocks == nil {
			p.blocks = map[int64]*block{}
		}
		p.blocks[n] = fresh[n]
	}
	fresh[n].set(offset)
}

// advance moves low over all that is settled, and returns the blocks that it has
// passed. more: there may be others, it took as many as it may.
func (p *progress) advance() (passed []int64, more bool) {
	for p.has(p.low) {
		if p.low++; p.low%blockBits == 0 {
			passed = append(passed, p.low/blockBits-1)
			delete(p.blocks, p.low/blockBits-1)
			if len(passed) == passMost {
				return passed, p.has(p.low)
			}
		}
	}
	return passed, false
}

// raise moves low up, and returns the blocks below it, as many as it may.
func (p *progress) raise(low int64) (passed []int64, more bool) {
	p.low = max(p.low, low)
	for n := range p.blocks {
		if n >= p.low/blockBits {
			continue
		}
		if len(passed) == passMost {
			return passed, true
		}
		passed = append(passed, n)
		delete(p.blocks, n)
	}
	return passed, false
}

// Waiting is what waits in a queue, as it was looked at.
type Waiting struct {
	known     *progress
	low, next int64
}

// From is the offset of the first that waits, or Next.
func (w Waiting) From() int64 { return w.After(w.low) }

// Next is the offset of the next dead letter that will come.
func (w Waiting) Next() int64 { return w.next }

// After is the first offset from one on that waits, or Next.
func (w Waiting) After(offset int64) int64 {
	for offset = max(offset, w.low); offset < w.next && w.known.has(offset); offset++ {
	}
	return offset
}

// Has reports whether the dead letter at an offset waits.
func (w Waiting) Has(offset int64) bool {
	return offset >= w.low && offset < w.next && !w.known.has(offset)
}

// Count is how many wait.
func (w Waiting) Count() int64 {
	n := max(w.next-w.low, 0)
	for at, b := range w.known.blocks {
		switch start := at * blockBits; {
		case start >= w.low && start+blockBits <= w.next:
			n -= b.count()
		default: // a part of it
			for offset := max(start, w.low); offset < min(start+blockBits, w.next); offset++ {
				if b.has(offset) {
					n--
				}
			}
		}
	}
	return n
}
