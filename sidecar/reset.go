package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/problem"
)

// Reset is the answer of POST /v1/subscriptions/{name}/reset: where the group was in
// each queue, and where it is then, or would be. Messages are counted before the
// filter.
type Reset struct {
	Name    string       `json:"name"`
	Topic   string       `json:"topic"`
	Group   string       `json:"group"`
	To      time.Time    `json:"to"`
	DryRun  bool         `json:"dry_run"`
	Queues  []ResetQueue `json:"queues"`
	Repeats int64        `json:"repeats"` // messages behind the group that come again
	Skips   int64        `json:"skips"`   // messages before it that will not come
	Members []string     `json:"members"` // of other processes: while there is one, it is refused
	Dedupe  ResetDedupe  `json:"dedupe"`
}

// ResetQueue is one queue. From is nil where the group has never been.
type ResetQueue struct {
	Queue   string `json:"queue"`
	From    *int64 `json:"from"`
	To      int64  `json:"to"`
	Repeats int64  `json:"repeats"`
	Skips   int64  `json:"skips"`
}

// ResetDedupe says what keeps a repeat from the handler: a message that was marked
// done within the window is acked without a call.
type ResetDedupe struct {
	Store  string `json:"store"` // off: every repeat is a call
	Window string `json:"window,omitempty"`
}

// resetOrder is a reset for the goroutine of the subscription.
type resetOrder struct {
	to   time.Time
	done chan resetDone // has room for one
}

type resetDone struct {
	reset Reset
	err   error
}

const (
	// surveyTime bounds looking at the queues of a topic, and setting them.
	surveyTime = 30 * time.Second
	// goneAfter is how long our own consumer, which has left, may be named a member.
	goneAfter = 15 * time.Second
)

// reset moves a subscription's group to a time, or tells what that would do. The
// consumer is stopped for it: what the group has acked must not be written behind
// the reset. Calls that run have the same time to end as when the sidecar stops.
func (s *Sidecar) reset(ctx context.Context, name string, to time.Time, dryRun bool) (any, error) {
	one, err := s.subs.find(name)
	if err != nil {
		return nil, err
	}
	one.deciding.Lock()
	defer one.deciding.Unlock()
	plan, err := s.planReset(ctx, one, to)
	if err != nil || dryRun {
		return plan, err
	}
	if len(plan.Members) > 0 {
		return nil, problem.New(problem.GroupHasMembers, "group %s has other members: %v", plan.Group, plan.Members)
	}
	o := &resetOrder{to: to, done: make(chan resetDone, 1)}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.handlerShare()+surveyTime+goneAfter)
	defer cancel()
	select {
	case one.orders <- o:
	case <-ctx.Done():
		return nil, problem.New(problem.Busy, "the subscription does not come to it; nothing was changed")
	}
	select {
	case done := <-o.done:
		return done.reset, done.err
	case <-ctx.Done():
		return nil, problem.New(problem.Busy, "the reset has not ended in time; the sidecar's log says what becomes of it")
	}
}

// planReset asks with the consumer that runs.
func (s *Sidecar) planReset(ctx context.Context, one *subscription, to time.Time) (Reset, error) {
	seeker, err := one.seeker()
	if err != nil {
		return Reset{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	plan, err := s.surveyReset(ctx, seeker, one, to)
	if err == nil {
		plan.DryRun = true
		plan.Members, err = seeker.Members(ctx)
		plan.Members = orEmpty(plan.Members)
	}
	return plan, brokerProblem(err)
}

func (one *subscription) seeker() (broker.Seeker, error) {
	seeker, can := (*one.consumer.Load()).(broker.Seeker)
	if !can {
		return nil, problem.New(problem.BrokerUnavailable, "this broker cannot be asked where a group is")
	}
	return seeker, nil
}

// brokerProblem makes a problem of what the broker refused, or did not answer.
func brokerProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, broker.ErrMembers):
		return problem.New(problem.GroupHasMembers, "%s", err)
	}
	return problem.New(problem.BrokerUnavailable, "%s", err)
}

func (s *Sidecar) surveyReset(ctx context.Context, from broker.Seeker, one *subscription, to time.Time) (Reset, error) {
	c := one.config
	r := Reset{Name: c.Name, Topic: c.Topic, Group: c.Group, To: to.UTC(), Queues: []ResetQueue{}, Members: []string{}, Dedupe: ResetDedupe{Store: c.Dedupe.Store}}
	if s.store(c.Dedupe) != nil {
		r.Dedupe.Window = c.Dedupe.Window.String()
	}
	places, err := from.Places(ctx, to)
	for _, p := range places {
		q := ResetQueue{Queue: p.Queue, To: p.At}
		at := p.First
		if p.Next >= 0 {
			q.From = new(p.Next)
			at = max(p.Next, p.First)
		}
		q.Repeats, q.Skips = max(at-p.At, 0), max(p.At-at, 0)
		r.Queues = append(r.Queues, q)
		r.Repeats, r.Skips = r.Repeats+q.Repeats, r.Skips+q.Skips
	}
	return r, err
}

// consume runs the gates of a subscription, one after the other: each reset has the
// one that runs end, and another begin. It returns nil when ctx is done.
func (s *Sidecar) consume(ctx context.Context, one *subscription) error {
	for {
		o, err := one.untilReset(ctx)
		if o == nil {
			return err
		}
		var done resetDone
		if err = errors.Join(err, s.renew(ctx, one)); err == nil {
			done.reset, done.err = s.seek(ctx, one, o.to)
		} else {
			done.err = err
		}
		o.done <- done
		if err != nil {
			return err
		}
	}
}

// untilReset runs the gate until it has ended: by itself, for ctx, or for an order,
// which is then returned.
func (one *subscription) untilReset(ctx context.Context) (*resetOrder, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- one.gate.Load().Run(ctx) }()
	select {
	case err := <-ended:
		return nil, err
	case o := <-one.orders:
		stop()
		return o, <-ended
	}
}

// seek sets the place of a group whose consumer here has ended.
func (s *Sidecar) seek(ctx context.Context, one *subscription, to time.Time) (Reset, error) {
	seeker, err := one.seeker()
	if err != nil {
		return Reset{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	r, err := s.surveyReset(ctx, seeker, one, to)
	if err != nil {
		return r, brokerProblem(err)
	}
	places := make([]broker.Seek, len(r.Queues))
	for i, q := range r.Queues {
		places[i] = broker.Seek{Queue: q.Queue, To: q.To}
	}
	if err := seekWhenAlone(ctx, seeker, places); err != nil {
		s.log.Error("subscription was not reset, or not in all queues", "subscription", one.config.Name, "to", r.To, "error", err)
		return r, brokerProblem(err)
	}
	s.log.Warn("subscription was reset by an operator", "subscription", one.config.Name, "group", r.Group, "to", r.To,
		"repeats", r.Repeats, "skips", r.Skips, "queues", fmt.Sprint(places))
	return r, nil
}

// seekWhenAlone waits until the broker has seen our own consumer go.
func seekWhenAlone(ctx context.Context, seeker broker.Seeker, places []broker.Seek) error {
	for end := time.Now().Add(goneAfter); ; {
		err := seeker.Seek(ctx, places)
		if !errors.Is(err, broker.ErrMembers) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
