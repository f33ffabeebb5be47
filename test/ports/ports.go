package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// What test/rocketmq takes for its nodes begins at the last.
const (
	first = 10000
	last  = 16000
)

// Claim finds an address that nobody listens on, and no other claim gets until it
// is released. It begins at random, as processes that start together would else
// try the same ones.
func Claim() (addr string, release func() error, err error) {
	begin := rand.IntN(last - first)
	for i := range last - first {
		addr := fmt.Sprintf("127.0.0.1:%d", first+(begin+i)%(last-first))
		if release, err := claim(addr); err == nil {
			return addr, release, nil
		}
	}
	return "", nil, fmt.Errorf("no free port between %d and %d", first, last)
}

func claim(addr string) (release func() error, err error) {
	c, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := l.Close(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.Close, nil
}

// Free is an address that nobody listens on but who asked for it, until the end of
// the test.
func Free(t testing.TB) string {
	t.Helper()
	addr, release, err := Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
	return addr
}
