package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/test/ports"
)

// nameServer accepts, and does so with each connection.
func nameServer(t *testing.T, with func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			with(conn)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// refuse answers one question with a code other than SUCCESS.
func refuse(conn net.Conn) {
	var lengths [8]byte // of what follows the first, and of the header
	if _, err := io.ReadFull(conn, lengths[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint32(lengths[:])-4)
	var asked struct{ Opaque int }
	if _, err := io.ReadFull(conn, question); err != nil || json.Unmarshal(question, &asked) != nil {
		return
	}
	header := fmt.Sprintf(`{"code":1,"flag":1,"opaque":%d,"remark":"not now"}`, asked.Opaque)
	answer := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	answer = binary.BigEndian.AppendUint32(answer, uint32(len(header)))
	_, _ = conn.Write(append(answer, header...)) // who asked sees what is missing
}

// A name server that accepts connections and does not answer is told from one that is
// well, and from one that is not there.
func TestCheckAsksEachNameServer(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gone := ports.Free(t)
	well := nameServer(t, refuse)
	hangs := nameServer(t, func(conn net.Conn) {
		var question [8]byte
		if _, err := io.ReadFull(conn, question[:]); err == nil {
			stop() // the time to answer is over
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	l := &config.Loaded{Config: config.Default()}
	l.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{gone, well, hangs}}}
	f := &findings{}
	lookAtBroker(ctx, f, l)
	for _, want := range []struct {
		level level
		text  string
	}{
		{warn, "name server " + gone + ": call"},
		{good, "name server " + well + " answers"},
		{warn, "name server " + hangs + ": it accepts connections and does not answer"},
	} {
		if !slices.ContainsFunc(*f, func(one finding) bool { return one.Level == want.level && strings.HasPrefix(one.Text, want.text) }) {
			t.Errorf("not said: %s %q, but %+v", want.level, want.text, *f)
		}
	}
}
