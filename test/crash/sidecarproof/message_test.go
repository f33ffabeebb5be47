package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

var topics = []string{"orders", "audit", "bulk"}

// sizes of bodies, in bytes.
type sizes struct{ large, huge int }

var (
	// smallSizes go with small memtables, where a payload above 20 KiB is stored
	// in chunks of 40 KiB.
	smallSizes = sizes{large: 60 << 10, huge: 200 << 10}
	// fullSizes go with the sidecar as it is: 64 KiB and 128 KiB.
	fullSizes = sizes{large: 300 << 10, huge: 4000 << 10}
)

// message is what a client posts. All of it follows from its number.
type message struct {
	number                  int
	topic, tag, key, ordKey string
	idempotency             string // "": none
	delay                   string // "": none
	body                    []byte
}

// message makes number n. A third has an idempotency key, a third an ordering key;
// of those without, a fifth is delayed.
func (s sizes) message(n int) message {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	m := message{number: n, topic: topics[rng.IntN(len(topics))], key: fmt.Sprintf("key-%d", n)}
	if rng.IntN(2) == 0 {
		m.tag = "tag" + strconv.Itoa(rng.IntN(3))
	}
	if rng.IntN(3) == 0 {
		m.ordKey = "lane " + strconv.Itoa(rng.IntN(5))
	}
	if rng.IntN(3) > 0 {
		m.idempotency = fmt.Sprintf("once-%d", n)
	}
	m.body = make([]byte, s.pick(rng))
	for i := 0; i < len(m.body); i += 8 {
		v := rng.Uint64()
		for j := i; j < min(i+8, len(m.body)); j++ {
			m.body[j] = byte(v)
			v >>= 8
		}
	}
	if m.ordKey == "" && rng.IntN(5) == 0 {
		m.delay = strconv.Itoa(1+rng.IntN(800)) + "ms"
	}
	return m
}

func (s sizes) pick(rng *rand.Rand) int {
	switch n := rng.IntN(100); {
	case n < 10:
		return 1
	case n < 60:
		return 1 + rng.IntN(3000)
	case n < 95:
		return 1 + rng.IntN(s.large)
	default:
		return s.large + rng.IntN(s.huge-s.large)
	}
}
