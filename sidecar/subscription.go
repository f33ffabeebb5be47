package sidecar

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/push"
)

// subscription is one that is configured, with what an operator decides of it.
type subscription struct {
	config   config.Subscription
	brake    *ackgate.Brake
	metrics  *ackgate.Metrics
	consumer atomic.Pointer[broker.Consumer] // the one that runs, or did
	gate     atomic.Pointer[ackgate.Gate]    // the same
	start    atomic.Pointer[Start]           // nil: the group has not been joined yet
	jump     atomic.Pointer[Jump]            // nil: there was none
	outside  atomic.Pointer[HeldUp]          // why the group cannot be joined; nil: it has been, or nothing has failed yet
	orders   chan *resetOrder

	deciding sync.Mutex // held while it is paused, resumed or reset
}

// Subscription is what GET /v1/subscriptions tells of one.
type Subscription struct {
	Name     string   `json:"name"`
	Topic    string   `json:"topic"`
	Group    string   `json:"group"`
	Mode     string   `json:"mode"`  // push or pull
	State    string   `json:"state"` // running, or the weightiest cause of held_up
	HeldUp   []HeldUp `json:"held_up"`
	InFlight int      `json:"in_flight"` // handler calls that run
	Leased   int      `json:"leased"`    // messages that the application has
	Held     int      `json:"held"`      // messages taken from the broker and not acked, these included
	Start    *Start   `json:"start,omitempty"`
	Jump     *Jump    `json:"jump,omitempty"` // the last one
}

// HeldUp is why calls of a subscription do not begin, or only one at a time, or why
// messages of it are held beside that; or why
// nothing of a topic is forwarded, or only tried.
type HeldUp struct {
	Cause  string    `json:"cause"`          // paused, not_ready, unreachable, failing, send_back_refused or not_joined; of a topic: paused, parked or failing
	Since  time.Time `json:"since,omitzero"` // of a topic: of a pause alone
	Detail string    `json:"detail,omitempty"`
}

func (one *subscription) tell() Subscription {
	now := one.gate.Load().State()
	out := Subscription{
		Name: one.config.Name, Topic: one.config.Topic, Group: one.config.Group, Mode: "push",
		State: now.String(), HeldUp: []HeldUp{}, InFlight: now.InFlight, Leased: now.Leased, Held: now.Held,
		Start: one.start.Load(), Jump: one.jump.Load(),
	}
	if one.config.Handler == "" {
		out.Mode = "pull"
	}
	for _, h := range now.HeldUp {
		out.HeldUp = append(out.HeldUp, HeldUp{string(h.Cause), h.Since.UTC(), h.Detail})
	}
	if why := one.outside.Load(); why != nil {
		if len(out.HeldUp) == 0 {
			out.State = why.Cause
		}
		out.HeldUp = append(out.HeldUp, *why)
	}
	return out
}

// notJoined is the cause beside those of a gate: the group cannot be joined.
const notJoined ackgate.Cause = "not_joined"

// noteJoin notes why the group cannot be joined; nil: it has been. One goroutine at a
// time calls it.
func (one *subscription) noteJoin(err error) {
	if err == nil {
		one.outside.Store(nil)
		return
	}
	now := HeldUp{Cause: string(notJoined), Since: time.Now().UTC().Truncate(time.Millisecond), Detail: err.Error()}
	if before := one.outside.Load(); before != nil {
		now.Since = before.Since
	}
	one.outside.Store(&now)
}

// subscriptions are those of a sidecar, for who asks while they come up.
type subscriptions struct {
	pauses *ackgate.Pauses

	mu    sync.Mutex
	all   []*subscription // in the order of the configuration
	ready bool            // they all are there
}

func (s *subscriptions) add(one *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

func (s *subscriptions) becomeReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
}

func (s *subscriptions) list() []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.all)
}

func (s *subscriptions) find(name string) (*subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if one.config.Name == name {
			return one, nil
		}
	}
	if !s.ready {
		return nil, problem.New(problem.Starting, "the subscriptions are not there yet")
	}
	return nil, problem.New(problem.UnknownSubscription, "none is called %.100q", name)
}

// heldUp tells of those that are held up, by cause: each by its name, with what is
// known of it.
func (s *subscriptions) heldUp() map[string][]string {
	all := map[string][]string{}
	for _, one := range s.list() {
		for _, h := range one.tell().HeldUp {
			all[h.Cause] = append(all[h.Cause], strings.TrimSuffix(one.config.Name+": "+h.Detail, ": "))
		}
	}
	return all
}

func (s *subscriptions) tell() []Subscription {
	all := []Subscription{}
	for _, one := range s.list() {
		all = append(all, one.tell())
	}
	return all
}

// admitted is what the admin listener may do with subscriptions.
func (s *Sidecar) admitted() *admin.Subscriptions {
	return &admin.Subscriptions{
		List:   func() any { return s.subs.tell() },
		Pause:  s.pause,
		Resume: s.resume,
		Retry:  s.retry,
		Reset:  s.reset,
	}
}

// pause stops the calls of a subscription, until it is resumed, also after a
// restart. When it returns no call begins any more, and that is on stable storage.
func (s *Sidecar) pause(ctx context.Context, name string) (any, error) {
	one, err := s.subs.find(name)
	if err != nil {
		return nil, err
	}
	one.deciding.Lock()
	defer one.deciding.Unlock()
	ctx, cancel := s.decision(ctx)
	defer cancel()
	since, err := s.subs.pauses.Pause(ctx, name)
	if err != nil {
		return nil, err
	}
	if one.brake.Apply(ackgate.Paused, since, "by an operator") {
		s.log.Warn("subscription is paused by an operator", "subscription", name, "in_flight", one.gate.Load().State().InFlight)
		s.noteHeldUp()
	}
	return one.tell(), nil
}

// resume takes that back.
func (s *Sidecar) resume(ctx context.Context, name string) (any, error) {
	one, err := s.subs.find(name)
	if err != nil {
		return nil, err
	}
	one.deciding.Lock()
	defer one.deciding.Unlock()
	ctx, cancel := s.decision(ctx)
	defer cancel()
	if err := s.subs.pauses.Resume(ctx, name); err != nil {
		return nil, err
	}
	if one.brake.Release(ackgate.Paused) {
		s.log.Info("subscription is resumed", "subscription", name)
		s.noteHeldUp()
	}
	return one.tell(), nil
}

// retry has the handler called again for messages that no broker takes back.
func (s *Sidecar) retry(_ context.Context, name string) (any, error) {
	one, err := s.subs.find(name)
	if err != nil {
		return nil, err
	}
	one.deciding.Lock()
	defer one.deciding.Unlock()
	if n := one.gate.Load().Recall(); n > 0 {
		s.log.Warn("an operator has the handler called again for messages that no broker takes back", "subscription", name, "messages", n)
	}
	return one.tell(), nil
}

// decision outlives the request of an operator who does not wait for the answer.
func (s *Sidecar) decision(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Spool.SyncTimeout.Std())
}

// noteHeldUp tells the conditions what subscriptions are held up for.
func (s *Sidecar) noteHeldUp() {
	heldUp := s.subs.heldUp()
	for condition, cause := range map[admin.Condition]ackgate.Cause{
		admin.SubscriptionPaused: ackgate.Paused, admin.AppNotReady: ackgate.NotReady,
		admin.Handler: ackgate.Unreachable, admin.HandlerFailing: ackgate.Failing,
		admin.SendBackRefused: ackgate.Refused, admin.NotJoined: notJoined,
	} {
		s.conditions.Explain(condition, heldUp[string(cause)])
	}
}

// subscribe starts a subscription, as it was left.
func (s *Sidecar) subscribe(ctx context.Context, c config.Subscription, metrics *ackgate.Metrics) error {
	one := &subscription{config: c, brake: ackgate.NewBrake(c.Name, metrics), metrics: metrics, orders: make(chan *resetOrder)}
	if since, is := s.subs.pauses.Since(c.Name); is {
		one.brake.Apply(ackgate.Paused, since, "by an operator")
		s.log.Warn("subscription was paused by an operator, and is until it is resumed", "subscription", c.Name,
			"since", since, "resume", "sidecar subscription resume "+c.Name)
	}
	if err := s.renew(ctx, one); err != nil {
		return err
	}
	s.subs.add(one)
	if c.Readiness != "" {
		s.watchReadiness(ctx, one)
	}
	s.parts.subscriptions = append(s.parts.subscriptions, s.parts.start(ctx, "subscription "+c.Name, func(ctx context.Context) error { return s.consume(ctx, one) }))
	return nil
}

// watchReadiness holds a subscription up while its application is not ready.
func (s *Sidecar) watchReadiness(ctx context.Context, one *subscription) {
	one.brake.AwaitReady()
	asked := push.NewReadiness(one.config.Readiness, s.userAgent())
	s.parts.subscriptions = append(s.parts.subscriptions, s.parts.start(ctx, "readiness of "+one.config.Name, func(ctx context.Context) error {
		return one.brake.Watch(ctx, asked.Ask, ackgate.Readiness{}, s.log)
	}))
}

func (s *Sidecar) userAgent() string { return "remora/" + s.version }
