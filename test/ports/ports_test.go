package ports_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/remora-mq/remora/test/ports"
)

// The kernel chooses none of them, and each is given once.
func TestFreePortsAreNobodyElses(t *testing.T) {
	given := map[string]bool{}
	for range 500 {
		addr := ports.Free(t)
		if given[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		given[addr] = true
		if port := port(t, addr); port >= kernels(t) {
			t.Errorf("the kernel may give %d to others", port)
		}
	}
}

func TestWhoHasAFreePortListensOnIt(t *testing.T) {
	addr := ports.Free(t)
	for range 2 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

func TestReleasedPortCanBeClaimed(t *testing.T) {
	addr, release, err := ports.Claim()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.ListenPacket("udp4", addr); err == nil {
		c.Close()
		t.Errorf("%s is claimed by nobody", addr)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func port(t *testing.T, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kernels is the first port that the kernel chooses.
func kernels(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
