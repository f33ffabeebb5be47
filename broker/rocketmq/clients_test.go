package rocketmq

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func clientsOf(s sender) *clients {
	c, err := newClients(keysOf(nil), func(Keys) (sender, error) { return s, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	return c
}

// keyed is a client that tells what it was made with.
type keyed struct {
	*fakeSender

	keys     Keys
	shutdown chan struct{}
}

func (k *keyed) Shutdown() error { close(k.shutdown); return nil }

// keyedLane has a client for each of the keys that it is told.
func keyedLane(t *testing.T) (l *lane, use func(Keys), made *[]*keyed) {
	t.Helper()
	l, f := newFakeLane()
	var now atomic.Pointer[Keys]
	now.Store(&Keys{"user", "first"})
	made = new([]*keyed)
	open := func(keys Keys) (sender, error) {
		if keys.Secret == "none" {
			return nil, errors.New("no client with these")
		}
		k := &keyed{&fakeSender{selector: f.selector, queues: f.queues}, keys, make(chan struct{})}
		k.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
			return nil, libraryCode(codeNoPermission)
		}
		*made = append(*made, k)
		return k, nil
	}
	var err error
	if l.clients, err = newClients(func() Keys { return *now.Load() }, open, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	l.clients.now.routes.Store("t", struct{}{})
	return l, func(k Keys) { now.Store(&k) }, made
}

func (k *keyed) isShutDown(t *testing.T) {
	t.Helper()
	select {
	case <-k.shutdown:
	case <-time.After(time.Minute):
		t.Error("the client with the former keys is not shut down")
	}
}

// Keys that change are those of the next attempt. The former client ends when its last
// call does, and a key that is read again as it was costs nothing.
func TestOtherKeysTakeAnotherClient(t *testing.T) {
	l, use, made := keyedLane(t)
	called, answer := make(chan struct{}), make(chan struct{})
	(*made)[0].answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
		close(called)
		<-answer
		return nil, libraryCode(codeNoPermission)
	}
	first := make(chan struct{})
	go func() { defer close(first); send(l, testMessage(1, "")) }()
	<-called
	use(Keys{"user", "second"})
	l.clients.renew() // as the next attempt does, which would look for the route
	for range 3 {
		l.clients.now.routes.Store("t", struct{}{})
		send(l, testMessage(2, ""))
	}
	if all := *made; len(all) != 2 || all[1].keys.Secret != "second" || all[0].selects.Load() != 1 || all[1].selects.Load() != 3 {
		t.Fatalf("%d clients were made", len(all))
	}
	select {
	case <-(*made)[0].shutdown:
		t.Error("the former client was shut down under its call")
	default:
	}
	close(answer)
	<-first
	(*made)[0].isShutDown(t)
	use(Keys{"user", "none"})
	tries, open := 0, l.clients.open
	l.clients.open = func(k Keys) (sender, error) { tries++; return open(k) }
	l.clients.now.routes.Store("t", struct{}{})
	for range 2 {
		if _, e := send(l, testMessage(3, "")); e == nil || e.Status != "NO_PERMISSION" || len(*made) != 2 || tries != 1 {
			t.Errorf("keys that make no client: %+v, %d clients, %d tries", e, len(*made), tries)
		}
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	(*made)[1].isShutDown(t)
}

// A call that hangs with the former keys does not keep a lane from closing.
func TestClosingLaneShutsTheFormerClientDown(t *testing.T) {
	l, use, made := keyedLane(t)
	stuck := l.clients.enter()
	use(Keys{"user", "second"})
	l.clients.renew()
	if err := l.close(); err != nil {
		t.Error(err)
	}
	(*made)[0].isShutDown(t)
	(*made)[1].isShutDown(t)
	l.clients.leave(stuck)
}

// A call that was given up may send yet: its client ends with it, not before.
func TestAbandonedCallKeepsItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, use, made := keyedLane(t)
		answer := make(chan struct{})
		(*made)[0].answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
			<-answer
			return nil, libraryCode(codeNoPermission)
		}
		if _, e := send(l, testMessage(1, "")); e == nil || e.Status != statusTimeout {
			t.Fatalf("%+v", e)
		}
		use(Keys{"user", "second"})
		l.clients.renew()
		synctest.Wait()
		select {
		case <-(*made)[0].shutdown:
			t.Error("the client was shut down under its call")
		default:
		}
		close(answer)
		(*made)[0].isShutDown(t)
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
}

// Files that cannot be read now, on a mount that hangs, hold only the attempt that reads
// them. What it reads does not replace a client that was made meanwhile.
func TestKeysAreReadWithoutTheLock(t *testing.T) {
	l, use, made := keyedLane(t)
	now, reading, goOn := l.clients.keys, make(chan struct{}), make(chan struct{})
	l.clients.keys = func() Keys {
		keys := now()
		close(reading)
		<-goOn
		return keys
	}
	renewed := make(chan struct{})
	use(Keys{"user", "second"})
	go func() { defer close(renewed); l.clients.renew() }()
	<-reading
	if !l.clients.mu.TryLock() {
		t.Fatal("nothing is sent while the keys are read")
	}
	l.clients.keys = now
	l.clients.mu.Unlock()
	use(Keys{"user", "third"})
	l.clients.renew()
	close(goOn)
	<-renewed
	if len(*made) != 2 || (*made)[1].keys.Secret != "third" {
		t.Errorf("%d clients were made", len(*made))
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}

// A route that was found for the former client, while the keys changed, is looked for
// again before the next one sends: the library's own search would not end in time.
func TestRoutesGoWithTheirClient(t *testing.T) {
	l, use, made := keyedLane(t)
	asked, goOn := make(chan struct{}, 3), make(chan struct{})
	s := serve(t, func(command) *command {
		asked <- struct{}{}
		<-goOn
		return &command{body: []byte(`{"queueDatas":[{"brokerName":"a","writeQueueNums":1,"perm":6}]}`)}
	})
	r := newRemoting(nil)
	defer r.close()
	l.names = newNameServers([]string{s.addr}, r)
	l.clients.now.routes.Clear()
	first := make(chan struct{})
	go func() { defer close(first); send(l, testMessage(1, "")) }()
	<-asked
	use(Keys{"user", "second"})
	l.clients.renew()
	close(goOn)
	<-first
	send(l, testMessage(2, ""))
	use(Keys{"user", "third"})
	send(l, testMessage(3, "")) // which finds them by itself
	if calls, _ := s.seen(); len(calls) != 3 {
		t.Errorf("the route is looked for %d times for three clients", len(calls))
	}
	all := *made
	if len(all) != 3 {
		t.Fatalf("%d clients were made", len(all))
	}
	for _, one := range all {
		if n := one.selects.Load(); n != 1 {
			t.Errorf("the client of the %s keys has sent %d messages, want its own", one.keys.Secret, n)
		}
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
