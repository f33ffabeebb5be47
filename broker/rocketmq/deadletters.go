package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/remora-mq/remora/broker"
)

const deadTopicPrefix = "%DLQ%"

// DeadLetters are those of a group, in its topic %DLQ%group. It implements
// [broker.DeadLetters]. It joins no group.
//
// What Pass notes is the group's own offset in that topic, which mqadmin's
// consumerProgress shows, and which mqadmin's resetOffsetByTime changes.
type DeadLetters struct {
	group    string
	remoting *remoting
	names    nameServers
}

var _ broker.DeadLetters = (*DeadLetters)(nil)

// NewDeadLetters contacts nobody. The caller owes a Close.
func NewDeadLetters(o ConsumerOptions, group string) (*DeadLetters, error) {
	o, err := o.withDefaults()
	if err = errors.Join(err, validGroup(group)); err != nil {
		return nil, fmt.Errorf("configure dead letters of group %s: %w", group, err)
	}
	r := newRemoting(o.Keys)
	return &DeadLetters{group, r, newNameServers(o.NameServers, r)}, nil
}

// Close implements [broker.DeadLetters].
func (d *DeadLetters) Close() error {
	d.remoting.close()
	return nil
}

func (d *DeadLetters) topic() string { return deadTopicPrefix + d.group }

// Queues implements [broker.DeadLetters]. It fails where a broker that has some
// cannot be asked: a count without them would be wrong.
func (d *DeadLetters) Queues(ctx context.Context) ([]broker.DeadQueue, error) {
	route, err := d.names.route(ctx, d.topic())
	if errors.Is(err, errTopicNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []broker.DeadQueue
	for _, ref := range route.all() {
		q, err := d.ask(ctx, route.master(ref.Broker), ref)
		if err != nil {
			return nil, fmt.Errorf("ask for dead letters in %s: %w", ref, err)
		}
		all = append(all, q)
	}
	return all, nil
}

// all returns the queues of the topic whatever may be done with them, in order.
func (r topicRoute) all() (refs []queueRef) {
	for _, q := range r.Queues {
		for id := range max(q.Read, q.Write) {
			refs = append(refs, queueRef{q.Broker, id})
		}
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

func (d *DeadLetters) ask(ctx context.Context, addr string, ref queueRef) (q broker.DeadQueue, err error) {
	if addr == "" {
		return q, fmt.Errorf("broker %s has no master now", ref.Broker)
	}
	q.Name = ref.String()
	if q.First, err = d.offset(ctx, addr, reqMinOffset, ref.ID); err != nil {
		return q, err
	}
	if q.Next, err = d.offset(ctx, addr, reqMaxOffset, ref.ID); err != nil {
		return q, err
	}
	q.Passed, err = d.offset(ctx, addr, reqQueryConsumerOffset, ref.ID)
	if code, ok := codeOf(err); ok && (code == codeQueryNotFound || code == codeGroupNotExist) {
		q.Passed, err = 0, nil
	}
	return q, err
}

// fields name a queue to whatever request.
func (d *DeadLetters) fields(queue int) map[string]string {
	return map[string]string{
		fieldGroup: d.group, "topic": d.topic(), fieldQueue: strconv.Itoa(queue), "setZeroIfNotFound": "false",
	}
}

func (d *DeadLetters) offset(ctx context.Context, addr string, request, queue int) (int64, error) {
	answer, err := d.remoting.call(ctx, addr, newCommand(request, d.fields(queue), nil))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer.ExtFields["offset"], 10, 64)
}

// Pass implements [broker.DeadLetters].
func (d *DeadLetters) Pass(ctx context.Context, queue string, offset int64) error {
	addr, ref, _, err := d.find(ctx, queue)
	if err == nil {
		fields := d.fields(ref.ID)
		fields["commitOffset"] = strconv.FormatInt(offset, 10)
		_, err = d.remoting.call(ctx, addr, newCommand(reqUpdateConsumerOffset, fields, nil))
	}
	if err != nil {
		return fmt.Errorf("note offset %d of %s in %s: %w", offset, d.topic(), queue, err)
	}
	return nil
}

// find returns the address of the master that has the queue.
func (d *DeadLetters) find(ctx context.Context, queue string) (addr string, ref queueRef, route topicRoute, err error) {
	route, err = d.names.route(ctx, d.topic())
	if err != nil {
		return "", ref, route, err
	}
	for _, ref := range route.all() {
		if ref.String() != queue {
			continue
		}
		if addr := route.master(ref.Broker); addr != "" {
			return addr, ref, route, nil
		}
		return "", ref, route, fmt.Errorf("broker %s has no master now", ref.Broker)
	}
	return "", ref, route, fmt.Errorf("topic %s has no queue %q", d.topic(), queue)
}
