package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/broker"
)

var _ broker.Seeker = (*Consumer)(nil)

// Places implements broker.Seeker.
func (c *Consumer) Places(ctx context.Context, at time.Time) ([]broker.Place, error) {
	route, err := c.names.route(ctx, c.sub.Topic)
	if err != nil {
		return nil, err
	}
	return c.places(ctx, route, at)
}

func (c *Consumer) places(ctx context.Context, route topicRoute, at time.Time) (all []broker.Place, err error) {
	for _, q := range route.readable() {
		p, err := c.place(ctx, route.master(q.Broker), q, at)
		if err != nil {
			return nil, fmt.Errorf("look at queue %s: %w", q, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func (c *Consumer) place(ctx context.Context, addr string, q queueRef, at time.Time) (broker.Place, error) {
	p := broker.Place{Queue: q.String()}
	var err error
	if p.Next, err = c.progress(ctx, addr, q.ID); err != nil {
		return p, err
	}
	if p.First, err = c.offset(ctx, addr, q.ID, reqMinOffset); err != nil {
		return p, err
	}
	if p.End, err = c.offset(ctx, addr, q.ID, reqMaxOffset); err != nil {
		return p, err
	}
	// Of a time behind all messages a broker answers the last one, or the one behind.
	if p.At, err = c.offset(ctx, addr, q.ID, reqSearchOffset, "timestamp", strconv.FormatInt(at.UnixMilli(), 10)); err != nil {
		return p, err
	}
	p.At = min(max(p.At, p.First), p.End)
	return p, nil
}

// fields name a queue of the group, with more of a request.
func (c *Consumer) fields(queue int, more ...string) map[string]string {
	f := map[string]string{fieldGroup: c.sub.Group, "topic": c.sub.Topic, fieldQueue: strconv.Itoa(queue)}
	for pair := range slices.Chunk(more, 2) {
		f[pair[0]] = pair[len(pair)-1]
	}
	return f
}

// progress is the offset that the group will get next, -1 if it has none.
func (c *Consumer) progress(ctx context.Context, addr string, queue int) (int64, error) {
	answer, err := c.remoting.call(ctx, addr, newCommand(reqQueryConsumerOffset, c.fields(queue, "setZeroIfNotFound", "false"), nil))
	if code, ok := codeOf(err); ok && code == codeQueryNotFound {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer.ExtFields["offset"], 10, 64)
}

func (c *Consumer) setProgress(ctx context.Context, addr string, queue int, to int64) error {
	_, err := c.remoting.call(ctx, addr, newCommand(reqUpdateConsumerOffset, c.fields(queue, "commitOffset", strconv.FormatInt(to, 10)), nil))
	return err
}

// offset asks for one of a queue's offsets.
func (c *Consumer) offset(ctx context.Context, addr string, queue int, request int, more ...string) (int64, error) {
	answer, err := c.remoting.call(ctx, addr, newCommand(request, c.fields(queue, more...), nil))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer.ExtFields["offset"], 10, 64)
}

// Members implements broker.Seeker.
func (c *Consumer) Members(ctx context.Context) ([]string, error) {
	all, err := c.members(ctx)
	return slices.DeleteFunc(all, c.isOurs), err
}

// isOurs reports whether a client is one of this process: they are named by its
// instance (internal/client.go, BuildClientID: address@instance, and more).
func (c *Consumer) isOurs(client string) bool {
	_, instance, _ := strings.Cut(client, "@")
	return strings.HasPrefix(instance, c.options.Instance+"-consumer-")
}

// members names the clients of the group that any broker of the topic knows.
func (c *Consumer) members(ctx context.Context) ([]string, error) {
	route, err := c.names.route(ctx, c.sub.Topic)
	if err != nil {
		return nil, err
	}
	found := map[string]struct{}{}
	for _, b := range route.Brokers {
		addr := b.Addrs[masterID]
		if addr == "" {
			return nil, fmt.Errorf("ask broker %s for the members of group %s: it has no master now", b.Name, c.sub.Group)
		}
		names, err := c.membersAt(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("ask broker %s for the members of group %s: %w", b.Name, c.sub.Group, err)
		}
		for _, name := range names {
			found[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (c *Consumer) membersAt(ctx context.Context, addr string) ([]string, error) {
	answer, err := c.remoting.call(ctx, addr, newCommand(reqGroupMembers, map[string]string{fieldGroup: c.sub.Group}, nil))
	if e, ok := errors.AsType[*responseError](err); ok && e.Code == codeSystemError && strings.Contains(e.Remark, "no consumer for this group") {
		return nil, nil // so it says none (ConsumerManageProcessor.getConsumerListByGroup)
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Names []string `json:"consumerIdList"`
	}
	err = json.Unmarshal(answer.body, &list)
	return list.Names, err
}

// Seek implements broker.Seeker. A broker that does not know the group any more is
// told what the group had there: it is read back.
func (c *Consumer) Seek(ctx context.Context, to []broker.Seek) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return fmt.Errorf("set the place of group %s: %w: %s", c.sub.Group, broker.ErrMembers, strings.Join(members, ", "))
	}
	route, err := c.names.route(ctx, c.sub.Topic)
	if err != nil {
		return err
	}
	there := map[string]queueRef{}
	for _, q := range route.readable() {
		there[q.String()] = q
	}
	for _, s := range to {
		if _, is := there[s.Queue]; !is { // its broker may be away
			return fmt.Errorf("set the place of group %s: the topic has no queue %s now", c.sub.Group, s.Queue)
		}
	}
	for _, s := range to {
		q := there[s.Queue]
		if err := c.seekQueue(ctx, route.master(q.Broker), q.ID, s.To); err != nil {
			return fmt.Errorf("set the place of group %s in queue %s: %w", c.sub.Group, q, err)
		}
	}
	return c.stillAlone(ctx)
}

// stillAlone reports who has joined while places were set: who read one before goes on
// from there, and writes that over it.
func (c *Consumer) stillAlone(ctx context.Context) error {
	joined, err := c.members(ctx)
	if err == nil && len(joined) > 0 {
		err = fmt.Errorf("it has got members meanwhile: %s", strings.Join(joined, ", "))
	}
	if err != nil {
		return fmt.Errorf("the place of group %s is set, and may be set back: %w", c.sub.Group, err)
	}
	return nil
}

func (c *Consumer) seekQueue(ctx context.Context, addr string, queue int, to int64) error {
	if err := c.setProgress(ctx, addr, queue, to); err != nil {
		return err
	}
	got, err := c.progress(ctx, addr, queue)
	if err == nil && got != to {
		err = fmt.Errorf("the broker has %d, and was told %d", got, to)
	}
	return err
}

// surveyStart notes where the group begins, before it does. It is no reason not to
// begin that this is not known.
func (c *Consumer) surveyStart(ctx context.Context, route topicRoute) {
	if c.sub.Starts == nil {
		return
	}
	oldAt := time.Now().Add(-broker.OldAfter)
	places, err := c.places(ctx, route, oldAt)
	var from []broker.Place
	if err == nil && !c.sub.From.Time.IsZero() {
		from, err = c.places(ctx, route, c.sub.From.Time)
	}
	if err != nil {
		c.log.Warn("it is not known where the group begins", "error", err)
		return
	}
	start := broker.StartOf(places, oldAt, func(queue int, p broker.Place) int64 {
		switch {
		case c.sub.From.Latest:
			return p.End
		case queue < len(from):
			return from[queue].At
		}
		return p.First
	})
	if c.start != nil { // a try that failed may have set places
		start.New, start.Skipped = start.New || c.start.New, max(start.Skipped, c.start.Skipped)
	}
	c.start = &start
}
