package rocketmq

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
)

const testRoute = `{"brokerDatas":[{"brokerName":"b","brokerAddrs":{"0":"10.0.0.1:10911"}}],` +
	`"queueDatas":[{"brokerName":"b","readQueueNums":1,"writeQueueNums":1,"perm":6}]}`

func routeServer(t *testing.T, before func()) *fakeServer {
	t.Helper()
	return serve(t, func(c command) *command {
		before()
		if c.Code == reqClusterInfo {
			return &command{body: []byte(`{"brokerAddrTable":{"b":{"brokerAddrs":{0:"10.0.0.1:10911"}}}}`)}
		}
		return &command{body: []byte(testRoute)}
	})
}

// namesOf waits for a name server, and for who says more than nothing, until the test
// fails: what does not end by an answer does not end.
func namesOf(t *testing.T, addrs ...string) nameServers {
	t.Helper()
	r := newRemoting(nil)
	t.Cleanup(r.close)
	n := newNameServers(addrs, r)
	n.hedge, n.patience = time.Hour, time.Hour
	return n
}

// A name server that refuses costs no time.
func TestRefusingNameServerIsNotWaitedFor(t *testing.T) {
	n := namesOf(t, refusingServer(t), routeServer(t, func() {}).addr)
	if r, err := n.route(t.Context(), "t"); err != nil || r.master("b") == "" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// A name server that was restarted has ended the connections that are kept to it. That is
// no answer: it is asked again.
func TestRestartedNameServerIsAskedAgain(t *testing.T) {
	addr := routeServer(t, func() {}).addr
	n := namesOf(t, addr)
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseRead()) // so it is read as ended
		n.remoting.keep(addr, conn)
	}
	if r, err := n.route(t.Context(), "t"); err != nil || r.master("b") == "" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// One that hangs is waited for once, and the connection of what it was asked closed.
func TestHungNameServerIsAskedLastFromThenOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	accepted, closed := make(chan struct{}, 2), make(chan struct{}, 2)
	go func() {
		defer close(closed)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			_, _ = io.Copy(io.Discard, conn) // until it is closed
			discard(conn)
			closed <- struct{}{}
		}
	}()
	hangs := sync.OnceFunc(func() { <-accepted })
	n := namesOf(t, l.Addr().String(), routeServer(t, hangs).addr)
	hasty := n
	hasty.hedge = time.Millisecond
	if _, err := hasty.route(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	<-closed
	if _, err := n.route(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	must(t, l.Close())
	for range closed {
		t.Error("it was asked again, before the one that answers")
	}
}

// A name server that was just restarted knows nothing. What another one says is believed,
// of a topic and of the brokers, however late it comes.
func TestWhoKnowsATopicIsBelieved(t *testing.T) {
	for _, last := range []bool{false, true} {
		said := make(chan struct{}, 4)
		bare := serve(t, func(c command) *command {
			said <- struct{}{}
			if c.Code == reqClusterInfo {
				return &command{body: []byte(`{"brokerAddrTable":{}}`)}
			}
			return &command{Code: codeTopicNotExist}
		}).addr
		knows := routeServer(t, func() {
			if !last { // else it is asked first, and alone
				<-said
			}
		}).addr
		addrs := []string{bare, knows}
		if last {
			addrs = []string{knows, bare}
		}
		n := namesOf(t, addrs...)
		if r, err := n.route(t.Context(), "t"); err != nil || r.master("b") == "" {
			t.Errorf("%v: got %+v, %v", last, r, err)
		}
		i := &Inspector{namesOf(t, addrs...), n.remoting}
		if m, err := i.masters(t.Context()); err != nil || m["b"] == "" {
			t.Errorf("%v: got brokers %v, %v", last, m, err)
		}
	}
}

// When all say that they know nothing, or the others do not answer for a while, it is so.
func TestTopicThatNobodyKnowsDoesNotExist(t *testing.T) {
	for how, server := range faultyNames {
		n := namesOf(t, bareServer(t), server(t))
		n.patience = patienceBeside(how)
		if _, err := n.route(t.Context(), "t"); !errors.Is(err, errTopicNotExist) {
			t.Errorf("beside one that is %s: %v", how, err)
		}
	}
	n := namesOf(t, bareServer(t), bareServer(t))
	if m, err := (&Inspector{n, n.remoting}).masters(t.Context()); err != nil || len(m) != 0 {
		t.Errorf("of no broker is said %v, %v", m, err)
	}
	n = namesOf(t, refusingServer(t), refusingServer(t))
	if _, err := n.route(t.Context(), "t"); !errors.Is(err, errNoNameServer) || errors.Is(err, errTopicNotExist) {
		t.Errorf("where none answers: %v", err)
	}
}

// joinServer is name server and broker of a new group: its retry topic is there once it
// was announced.
func joinServer(t *testing.T) *fakeServer {
	t.Helper()
	announced := false
	var s *fakeServer
	s = serve(t, func(c command) *command {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case c.Code == reqHeartBeat:
			announced = true
		case c.Code == reqRoute && c.ExtFields["topic"] != "t" && !announced:
			return &command{Code: codeTopicNotExist}
		case c.Code == reqRoute:
			body, _ := json.Marshal(map[string]any{
				"brokerDatas": []any{map[string]any{"brokerName": "b", "brokerAddrs": map[string]string{"0": s.addr}}},
				"queueDatas":  []any{map[string]any{"brokerName": "b", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6}},
			})
			return &command{body: body}
		}
		return &command{}
	})
	return s
}

// A new group is announced, and found, within one try.
func TestNewGroupIsAnnouncedBesideANameServerOfNoUse(t *testing.T) {
	for how, server := range faultyNames {
		for _, position := range []int{0, 1} {
			s := joinServer(t)
			addrs := slices.Insert([]string{s.addr}, position, server(t))
			c, err := NewConsumer(ConsumerOptions{NameServers: addrs, Instance: "i"},
				broker.Subscription{Name: "s", Topic: "t", Group: "g", Concurrency: 1}, testLog(t))
			must(t, err)
			t.Cleanup(c.remoting.close)
			c.names.patience = patienceBeside(how)
			if err := c.prepare(t.Context()); err != nil {
				t.Errorf("%s, as number %d: %v", how, position, err)
			}
			route, err := c.names.route(t.Context(), retryTopicPrefix+"g")
			if err != nil || len(route.Queues) != 1 {
				t.Errorf("%s, as number %d: its retry topic is %+v, %v", how, position, route, err)
			}
		}
	}
}

// What the library asks is answered as name servers answer.
func TestRelay(t *testing.T) {
	answer := func(n nameServers, c command) (command, error) {
		r := newRelay(n, testLog(t))
		defer r.close()
		return n.remoting.call(t.Context(), r.listener.Addr().String(), c)
	}
	ask := newCommand(reqRoute, map[string]string{"topic": "t"}, nil)
	well := routeServer(t, func() {})
	if got, err := answer(namesOf(t, refusingServer(t), well.addr), ask); err != nil || string(got.body) != testRoute {
		t.Errorf("a route is told as %q, %v", got.body, err)
	}
	calls, _ := well.seen()
	if len(calls) != 1 || calls[0].ExtFields["topic"] != "t" {
		t.Errorf("asked was %+v", calls)
	}
	for _, c := range []struct {
		names string
		ask   command
		want  int
	}{
		{bareServer(t), ask, codeTopicNotExist},
		{refusingServer(t), ask, codeSystemError},
		{well.addr, newCommand(reqClusterInfo, nil, nil), codeNotSupported},
	} {
		_, err := answer(namesOf(t, c.names), c.ask)
		if code, ok := codeOf(err); !ok || code != c.want {
			t.Errorf("answered with %v, want code %d", err, c.want)
		}
	}
	if _, err := answer(namesOf(t, well.addr), newCommand(reqRoute, nil, make([]byte, maxQuestion))); err == nil {
		t.Error("a question of any size is read")
	}
}

// The end of a relay is the end of its connections, and of a question that hangs.
func TestRelayEnds(t *testing.T) {
	asked := make(chan struct{})
	never := serve(t, func(command) *command { close(asked); return nil })
	n := namesOf(t, never.addr)
	r := newRelay(n, testLog(t))
	ended := make(chan error)
	go func() {
		_, err := n.remoting.call(t.Context(), r.listener.Addr().String(), newCommand(reqRoute, nil, nil))
		ended <- err
	}()
	<-asked
	r.close()
	if err := <-ended; err == nil {
		t.Error("it was answered")
	}
	if _, err := net.Dial("tcp", r.listener.Addr().String()); err == nil {
		t.Error("it goes on")
	}
}

// A relay has room for so many connections: one more takes the place of that which has been
// silent longest, and none where all wait for an answer.
func TestRelayHasSoManyConnections(t *testing.T) {
	r := newRelay(namesOf(t, routeServer(t, func() {}).addr), testLog(t))
	defer r.close()
	first := time.Now()
	var all []net.Conn
	for i := range relayConns {
		here, there := net.Pipe()
		t.Cleanup(func() { discard(here); discard(there) })
		if all = append(all, there); !r.admit(here) || !r.turn(here, first.Add(-time.Duration(i)*time.Second)) {
			t.Fatalf("connection %d is not let in", i)
		}
		if i == relayConns-1 && !r.turn(here, time.Time{}) { // it waits for an answer
			t.Fatal("the last one is closed")
		}
	}
	if _, err := r.names.remoting.call(t.Context(), r.listener.Addr().String(), newCommand(reqRoute, nil, nil)); err != nil {
		t.Errorf("one more is not answered: %v", err)
	}
	for i, there := range all {
		if closed := there.SetReadDeadline(time.Time{}) != nil; closed != (i == relayConns-2) {
			t.Errorf("connection %d is closed: %t; each is silent longer than the one before, but the last is answered", i, closed)
		}
	}
	r.mu.Lock()
	for conn := range r.conns {
		r.conns[conn] = time.Time{}
	}
	r.mu.Unlock()
	conn, err := net.Dial("tcp", r.listener.Addr().String())
	must(t, err)
	defer discard(conn)
	must(t, conn.SetReadDeadline(time.Now().Add(time.Minute))) // before an idle one is closed
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one more is let in while all wait for an answer")
	}
}
