package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
)

// link is a connection to a broker over which it asks for the decisions of half
// messages. It asks whoever has sent a heartbeat for the producer group of one, so
// heartbeats are all that is sent here.
type link struct {
	h      *Halves
	broker string
	topic  string // whose route tells where the broker is
	asked  *questions
	rouse  chan struct{} // has room for one: the groups have changed

	// Of the reader.
	dropped int // questions since that was last said
	said    time.Time

	mu      sync.Mutex
	addr    string   // as last known
	groups  []string // to be registered
	have    int      // of groups, registered over the connection of now
	changed chan struct{}
	failed  error // why the last connection ended
}

const (
	heartbeatEvery = 30 * time.Second // of a broker's 120 s
	heartbeatLimit = 75 * time.Second // without any answer: the connection is dead
	relinkFirst    = 100 * time.Millisecond
	relinkLast     = 5 * time.Second
	// maxAsked half messages have a question that waits for its answer.
	maxAsked = 4096
	// answersAtOnce is how many questions of a broker are being answered.
	answersAtOnce = 64
	// sayDropped is how often it is said that questions are dropped, at most.
	sayDropped = time.Minute
)

func newLink(h *Halves, name, topic string) *link {
	return &link{
		h: h, broker: name, topic: topic,
		asked: newQuestions(maxAsked), rouse: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// join has a group registered.
func (l *link) join(group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.groups, group) {
		return
	}
	l.groups = append(l.groups, group)
	select {
	case l.rouse <- struct{}{}:
	default:
	}
}

// know tells an address, should nobody else.
func (l *link) know(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr == "" {
		l.addr = addr
	}
}

func (l *link) registered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have == len(l.groups)
}

// await returns when all groups are registered.
func (l *link) await(ctx context.Context) error {
	for {
		l.mu.Lock()
		ok, changed, failed := l.have == len(l.groups), l.changed, l.failed
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("register with broker %s: %w", l.broker, errors.Join(ctx.Err(), failed))
		}
	}
}

// note tells of how many groups the broker knows, and why of none.
func (l *link) note(have int, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have, l.failed = have, failed
	close(l.changed)
	l.changed = make(chan struct{})
}

// run keeps a connection until ctx is done.
func (l *link) run(ctx context.Context) {
	pause := relinkFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		l.note(0, err)
		if time.Since(began) > relinkLast {
			pause = relinkFirst
		}
		l.h.log.Debug("no connection over which a broker may ask for decisions; it is made again", "broker", l.broker, "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, relinkLast)
	}
}

// connect makes one connection, and returns why it ended.
func (l *link) connect(ctx context.Context) error {
	addr, err := l.address(ctx)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer discard(conn)
	defer context.AfterFunc(ctx, func() { discard(conn) })()
	sent := make(chan int, 16) // groups of the heartbeats that are not answered
	over, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	defer beating.Wait()
	defer stop()
	beating.Go(func() {
		if err := l.beat(over, conn, sent); err != nil {
			discard(conn) // ends read
		}
	})
	return l.read(conn, addr, sent)
}

func (l *link) address(ctx context.Context) (string, error) {
	l.mu.Lock()
	known := l.addr
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	addr, err := l.h.master(ctx, l.broker, l.topic, known)
	if err == nil {
		l.mu.Lock()
		l.addr = addr
		l.mu.Unlock()
	}
	return addr, err
}

// beat sends heartbeats: at once, when a group joins, and again and again.
func (l *link) beat(ctx context.Context, conn net.Conn, sent chan<- int) error {
	every := time.NewTicker(heartbeatEvery)
	defer every.Stop()
	for {
		select {
		case <-l.rouse: // this one has all groups
		default:
		}
		frame, groups, err := l.heartbeat()
		if err == nil {
			err = conn.SetWriteDeadline(time.Now().Add(callTimeout))
		}
		if err != nil {
			return err
		}
		select {
		case sent <- groups:
		default:
			return errors.New("heartbeats are not answered")
		}
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		select {
		case <-every.C:
		case <-l.rouse:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) heartbeat() (frame []byte, groups int, err error) {
	l.mu.Lock()
	var producers []map[string]string
	for _, g := range l.groups {
		producers = append(producers, map[string]string{"groupName": g})
	}
	l.mu.Unlock()
	body, err := json.Marshal(map[string]any{"clientID": l.h.clientID, "producerDataSet": producers, "consumerDataSet": []any{}})
	if err != nil {
		return nil, 0, err
	}
	c := newCommand(reqHeartBeat, nil, body)
	l.h.remoting.keys().sign(&c)
	c.Opaque = l.h.remoting.nextOpaque()
	frame, err = encodeFrame(c)
	return frame, len(producers), err
}

// read takes answers to heartbeats, which come in their order, and questions.
func (l *link) read(conn net.Conn, addr string, sent <-chan int) error {
	for {
		if err := conn.SetReadDeadline(time.Now().Add(heartbeatLimit)); err != nil {
			return err
		}
		c, err := readFrame(conn)
		switch {
		case err != nil:
			return err
		case c.Flag&flagAnswer == 0:
			if c.Code == reqCheckTransaction {
				l.ask(c, addr)
			}
		case c.Code != codeSuccess:
			return &responseError{Code: c.Code, Remark: c.Remark}
		default:
			select {
			case groups := <-sent:
				l.note(groups, nil)
			default:
				return errors.New("an answer to no heartbeat")
			}
		}
	}
}

// ask has a question answered.
func (l *link) ask(c command, addr string) {
	q, err := readCheck(c, l.broker, addr)
	if err != nil {
		l.h.log.Error("a broker asks for the decision of what cannot be read", "broker", l.broker, "error", err)
		return
	}
	if dropped := l.asked.add(q); dropped > 0 {
		l.drop(dropped) // the broker asks again
	}
}

func (l *link) drop(questions int) {
	l.dropped += questions
	if time.Since(l.said) < sayDropped {
		return
	}
	l.h.log.Warn("a broker asks for more decisions than can be told; it asks again", "broker", l.broker, "waiting", maxAsked, "dropped", l.dropped)
	l.dropped, l.said = 0, time.Now()
}

// serve answers until ctx is done, so many at once: an answer waits for the disk, and
// those that wait together share its sync.
func (l *link) serve(ctx context.Context, check func(context.Context, broker.HalfCheck)) {
	var answering sync.WaitGroup
	defer answering.Wait()
	room := make(chan struct{}, answersAtOnce)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		q, err := l.asked.next(ctx)
		if err != nil {
			return
		}
		answering.Go(func() {
			defer func() { <-room }()
			defer l.asked.done(q)
			check(ctx, q)
		})
	}
}
