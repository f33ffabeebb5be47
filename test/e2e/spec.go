package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// limit is the default of spool.max_message.
const limit = 4032 << 10

// form is how a message is put into a request.
type form int

const (
	headers form = iota
	query
)

// spec is a message to be posted. Its body is made when it is needed.
type spec struct {
	content

	number int // from 0; no two specs share one
	size   int // bytes of the body
	seed   uint64
	form   form
	wait   time.Duration // Prefer: wait; 0: none

	// refusal is the status that must answer it; 0: it is to be accepted.
	refusal int
}

// idempotencyKey is the same over all posts of a spec.
func (s *spec) idempotencyKey() string { return fmt.Sprintf("order-%d-%d", s.seed, s.number) }

// full is the content with its body: for every fourth message all byte values
// in a row, else random bytes.
func (s *spec) full() content {
	c := s.content
	c.body = make([]byte, s.size)
	if s.number%4 == 0 {
		for i := range c.body {
			c.body[i] = byte(s.number/4 + i)
		}
		return c
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], s.seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(s.number))
	_, _ = rand.NewChaCha8(key).Read(c.body) // never fails
	return c
}

// lane is what keeps its order: the messages of one topic and ordering key.
func (s *spec) lane() string {
	if s.orderingKey == "" {
		return ""
	}
	return s.topic + "/" + s.orderingKey
}

func (s *spec) String() string {
	return fmt.Sprintf("message %d (%d B to %s)", s.number, s.size, s.topic)
}

// refused returns a copy that the sidecar must refuse.
func (s *spec) refused(status int, spoil func(*spec)) *spec {
	bad := *s
	bad.refusal, bad.wait = status, 0
	spoil(&bad)
	return &bad
}

// badSpecs are refused, each for one reason.
func badSpecs(s *spec) []*spec {
	return []*spec{
		s.refused(http.StatusRequestEntityTooLarge, func(b *spec) { b.size = limit + 1 }),
		s.refused(http.StatusBadRequest, func(b *spec) { b.size = 0 }),
		s.refused(http.StatusBadRequest, func(b *spec) { b.topic = "not a topic" }),
		s.refused(http.StatusBadRequest, func(b *spec) { b.tag = "two||tags" }),
		s.refused(http.StatusBadRequest, func(b *spec) {
			b.properties = []property{{name: "UNIQ_KEY", value: "forged"}}
		}),
	}
}
