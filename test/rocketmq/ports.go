package rocketmq

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Nodes listen on loopback. Blocks lie below the ephemeral range (from 32768 on Linux):
// else an outgoing connection could take a killed broker's port before it starts again.
const (
	loopback   = "127.0.0.1"
	firstPort  = 16000
	lastPort   = 32000
	blockPorts = 5
)

// portBlock is a run of ports that no other test process uses while the first
// of them, the claim, is listened on. A broker takes three: besides listenPort
// the "fast" port two below it (BrokerController.initializeRemotingServer), and
// haListenPort.
type portBlock struct {
	claim net.Listener
	fast  int
	main  int
	ha    int
}

// claimPorts finds a block of which every port is free. It begins at random,
// as test processes that start together would else try the same ones.
func claimPorts() (*portBlock, error) {
	blocks := (lastPort - firstPort) / blockPorts
	begin := rand.IntN(blocks)
	for i := range blocks {
		base := firstPort + (begin+i)%blocks*blockPorts
		if b, err := claimBlock(base); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports in a row between %d and %d", blockPorts, firstPort, lastPort)
}

func claimBlock(base int) (*portBlock, error) {
	claim, err := listen(base)
	if err != nil {
		return nil, err
	}
	b := &portBlock{claim: claim, fast: base + 1, main: base + 3, ha: base + 4}
	if err := errors.Join(probe(b.fast), probe(b.main), probe(b.ha)); err != nil {
		return nil, errors.Join(err, b.release())
	}
	return b, nil
}

func probe(port int) error {
	l, err := listen(port)
	if err != nil {
		return err
	}
	return l.Close()
}

// listen uses the wildcard address, because the broker's HA service does.
func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", ":"+strconv.Itoa(port))
}

func (b *portBlock) addr() string {
	return net.JoinHostPort(loopback, strconv.Itoa(b.main))
}

// release ends the claim; doing it again changes nothing.
func (b *portBlock) release() error {
	if err := b.claim.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
