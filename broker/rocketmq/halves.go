package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Halves keeps half messages in RocketMQ. It implements [broker.Halves].
//
// The library's transaction producer is not used. It registers its group only with
// brokers that it has sent to, up to 30 s later, so that after a restart nobody is
// asked (internal/client.go:640-687); it ends half messages by a request without an
// answer (producer.go:737); and it drops what a broker asks when another client of the
// process was made first (client.go:234-264). Here a connection to each broker
// is for heartbeats and the broker's questions alone (link.go), and all else is calls
// whose answers are read.
type Halves struct {
	options  ProducerOptions
	clientID string
	remoting *remoting
	names    nameServers
	log      *slog.Logger
	calls    gate
	turn     atomic.Uint64
	checks   chan *link // new ones, for Serve

	ctx     context.Context // of all links
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	links  map[string]*link // by the broker's name
	sought map[string]bool  // topics whose brokers are to be linked; true: they are not known
}

var _ broker.Halves = (*Halves)(nil)

// NewHalves contacts nobody. Group of the options is that of the producers that
// brokers ask: all processes of one group are asked for each other's half messages, so
// it is to be one of this process and its successors. The caller owes a Close.
func NewHalves(o ProducerOptions, logger *slog.Logger) (*Halves, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure half messages in rocketmq: %w", err)
	}
	r := newRemoting(o.Keys)
	h := &Halves{
		options: o, clientID: newInstance(o.Instance, "halves"), remoting: r, names: newNameServers(o.NameServers, r), log: logger,
		links: map[string]*link{}, sought: map[string]bool{}, checks: make(chan *link),
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// Prepare implements [broker.Halves].
func (h *Halves) Prepare(ctx context.Context, m *message.Message, half broker.Half) (message.HalfPlace, error) {
	if !h.calls.enter() {
		return message.HalfPlace{}, &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusClosed, Err: broker.ErrClosed}
	}
	defer h.calls.leave()
	ctx, cancel := context.WithTimeout(ctx, h.options.AttemptTimeout)
	defer cancel()
	text := h.properties(m, half)
	if e := sendable(m, len(text), len(m.Body)+len(text)); e != nil {
		return message.HalfPlace{}, e
	}
	addr, queue, defaultTopic, e := h.choose(ctx, m.Topic)
	if e != nil {
		return message.HalfPlace{}, e
	}
	answer, err := h.remoting.call(ctx, addr, newCommand(reqSend, map[string]string{
		"producerGroup": h.options.Group, "topic": m.Topic, fieldQueue: strconv.Itoa(queue.ID),
		"defaultTopic": defaultTopic, "defaultTopicQueueNums": "4", "sysFlag": strconv.Itoa(flagPrepared),
		"bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10), "flag": "0", "properties": text,
		"reconsumeTimes": "0", "batch": "false", "bname": queue.Broker,
	}, m.Body))
	if err != nil {
		return message.HalfPlace{}, ofCall(err, queue)
	}
	place := message.HalfPlace{Topic: m.Topic, Broker: queue.Broker, Address: addr, Group: h.options.Group, Queue: queue.String(), MessageID: m.ID.String()}
	if err := readPlace(&place, answer.ExtFields["msgId"], answer.ExtFields["transactionId"], answer.ExtFields["queueOffset"]); err != nil {
		return message.HalfPlace{}, &broker.SendError{Status: statusMalformed, Stored: true, Queue: queue.String(), Err: err}
	}
	return place, nil
}

// flagPrepared is MessageSysFlag.TRANSACTION_PREPARED_TYPE.
const flagPrepared = 0x1 << 2

// properties writes those of a half message, as MessageDecoder.messageProperties2String
// does.
func (h *Halves) properties(m *message.Message, half broker.Half) string {
	all := map[string]string{
		"TRAN_MSG": "true", "PGROUP": h.options.Group,
		message.PropHalf: numbered(half),
	}
	properties(m, func(name, value string) { all[name] = value })
	return encodeProperties(all)
}

// numbered is what a half message says of itself.
func numbered(h broker.Half) string { return strconv.FormatUint(h.Number, 10) + " " + h.Transaction }

// readNumbered reads it.
func readNumbered(text string) (broker.Half, error) {
	number, transaction, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return broker.Half{}, fmt.Errorf("a half message that is %.60q", text)
	}
	return broker.Half{Transaction: transaction, Number: n}, nil
}

// readPlace reads what a broker tells of where a half message is.
func readPlace(p *message.HalfPlace, offsetID, transactionID, queueOffset string) (err error) {
	const digits = 16 // of the offset, behind an address of either length
	if len(offsetID) < digits {
		return fmt.Errorf("an offset message ID %.60q", offsetID)
	}
	if p.LogOffset, err = strconv.ParseInt(offsetID[len(offsetID)-digits:], 16, 64); err != nil {
		return fmt.Errorf("an offset message ID %.60q", offsetID)
	}
	if p.QueueOffset, err = strconv.ParseInt(queueOffset, 10, 64); err != nil {
		return fmt.Errorf("a queue offset %.60q", queueOffset)
	}
	p.OffsetMessageID, p.TransactionID = offsetID, transactionID
	return nil
}

// choose finds a queue of the topic whose broker can ask here: before it has a half
// message.
func (h *Halves) choose(ctx context.Context, topic string) (addr string, q queueRef, defaultTopic string, e *broker.SendError) {
	route, defaultTopic, err := h.route(ctx, topic)
	if err != nil {
		return "", q, "", ofError(err)
	}
	queues := route.writableRefs()
	if len(queues) == 0 {
		return "", q, "", ofError(fmt.Errorf("find route of topic %s: %w", topic, errNotWritable))
	}
	start := h.turn.Add(1)
	var failed []error
	tried := map[string]bool{}
	for i := range queues {
		q = queues[(start+uint64(i))%uint64(len(queues))]
		if tried[q.Broker] {
			continue
		}
		tried[q.Broker] = true
		share, cancel := context.WithTimeout(ctx, max(h.options.AttemptTimeout/3, time.Second))
		err := h.link(q.Broker, topic, h.options.Group).await(share)
		cancel()
		if err == nil {
			return route.master(q.Broker), q, defaultTopic, nil
		}
		failed = append(failed, err)
	}
	return "", q, "", &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusConnect, Queue: q.Broker, Err: errors.Join(failed...)}
}

// route finds the topic, or where it would be created by what is sent to it.
func (h *Halves) route(ctx context.Context, topic string) (r topicRoute, defaultTopic string, err error) {
	r, err = h.names.route(ctx, topic)
	if !errors.Is(err, errTopicNotExist) {
		return r, autoCreateTopic, err
	}
	if auto, failed := h.names.route(ctx, autoCreateTopic); failed == nil {
		return auto, autoCreateTopic, nil
	}
	return r, "", err
}

// ofCall judges an attempt that got no SUCCESS.
func ofCall(err error, q queueRef) *broker.SendError {
	e := &broker.SendError{Status: statusBroken}
	code, answered := codeOf(err)
	switch {
	case certainlyNotSent(err):
		e.Outcome, e.Status = message.OutcomeRetryable, statusConnect
	case answered:
		e = ofSendCode(code)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e.Status = statusTimeout
	}
	e.Queue, e.Err = q.String(), err
	return e
}

// ofSendCode is ofCode, and for the codes that the library takes for a status.
func ofSendCode(code int) *broker.SendError {
	switch code {
	case codeFlushDiskTimeout:
		return &broker.SendError{Status: "FLUSH_DISK_TIMEOUT", Stored: true}
	case codeSlaveNotAvailable:
		return &broker.SendError{Status: "SLAVE_NOT_AVAILABLE", Stored: true}
	case codeFlushSlaveTimeout:
		return &broker.SendError{Status: "FLUSH_SLAVE_TIMEOUT", Stored: true}
	}
	return ofCode(code)
}

// End implements [broker.Halves].
func (h *Halves) End(ctx context.Context, p message.HalfPlace, commit bool) error {
	if !h.calls.enter() {
		return broker.ErrClosed
	}
	defer h.calls.leave()
	addr, err := h.master(ctx, p.Broker, p.Topic, p.Address)
	if err == nil {
		_, err = h.remoting.call(ctx, addr, endRequest(p, commit))
	}
	switch {
	case err == nil:
		return nil
	case isGone(err):
		err = fmt.Errorf("%w: %w", broker.ErrNoHalf, err)
	}
	return fmt.Errorf("end half message %s at %s: %w", p.MessageID, p.Broker, err)
}

// Types of an end (MessageSysFlag).
const (
	endCommit   = 0x2 << 2
	endRollback = 0x3 << 2
)

// endRequest claims to answer a check: else a broker refuses it once the half
// message's immunity is over (EndTransactionProcessor.rejectCommitOrRollback).
func endRequest(p message.HalfPlace, commit bool) command {
	kind := endRollback
	if commit {
		kind = endCommit
	}
	return newCommand(reqEndTransaction, map[string]string{
		"topic": p.Topic, "producerGroup": p.Group, "tranStateTableOffset": strconv.FormatInt(p.QueueOffset, 10),
		"commitLogOffset": strconv.FormatInt(p.LogOffset, 10), "commitOrRollback": strconv.Itoa(kind), "fromTransactionCheck": "true",
		"msgId": p.MessageID, "transactionId": p.TransactionID, "bname": p.Broker,
	}, nil)
}

// isGone reports answers of 5.3.3 by which there is no such half message there: none,
// or another message (EndTransactionProcessor.checkPrepareMessage).
func isGone(err error) bool {
	re, ok := errors.AsType[*responseError](err)
	return ok && re.Code == codeSystemError && slices.Contains(goneRemarks, re.Remark)
}

var goneRemarks = []string{
	"Find prepared transaction message failed", "The producer group wrong",
	"The transaction state table offset wrong", "The commit log offset wrong",
}

// master prefers the broker's present master to the address that is known of it.
func (h *Halves) master(ctx context.Context, name, topic, known string) (string, error) {
	route, err := h.names.route(ctx, topic)
	if err == nil {
		if addr := route.master(name); addr != "" {
			return addr, nil
		}
		return "", fmt.Errorf("broker %s has no master now", name)
	}
	if ctx.Err() != nil || known == "" {
		return "", err
	}
	return known, nil
}

// Serve implements [broker.Halves].
func (h *Halves) Serve(ctx context.Context, check func(context.Context, broker.HalfCheck)) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		select {
		case l := <-h.checks:
			serving.Go(func() { l.serve(ctx, check) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// link returns that to a broker, which registers the group there. The caller is
// inside calls.
func (h *Halves) link(name, topic, group string) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[name]
	if l != nil {
		l.join(group)
		return l
	}
	l = newLink(h, name, topic)
	l.join(group)
	h.links[name] = l
	h.running.Go(func() { l.run(h.ctx) })
	h.running.Go(func() {
		select {
		case h.checks <- l:
		case <-h.ctx.Done():
		}
	})
	return l
}

// Close implements [broker.Halves]. Again it does nothing.
func (h *Halves) Close() error {
	if h.calls.close() {
		h.stop()
		h.running.Wait()
		h.remoting.close()
	}
	return nil
}
