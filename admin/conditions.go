package admin

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Condition is one thing that is or is not the case with the sidecar.
type Condition string

// The conditions. Those of notReady make it not ready; all others, also names
// of the caller's own, only say that it is degraded.
const (
	Starting Condition = "starting"
	Stopping Condition = "stopping"
	ReadOnly Condition = "read-only" // a sync failed, the spool takes nothing more
	// SyncStalled: a write to the spool's disk has not come to its end for
	// spool.sync_timeout, and nothing is taken until it has.
	SyncStalled Condition = "sync-stalled"
	Broker      Condition = "broker" // unreachable
	// TopicParked: a topic is refused for itself, not there or not permitted.
	TopicParked Condition = "topic-parked"
	// TopicPaused: an operator has paused one, and has not resumed it.
	TopicPaused Condition = "topic-paused"
	// OrderingBlocked: ordering keys wait for a dead letter, until an operator acts.
	OrderingBlocked Condition = "ordering-blocked"
	// DeliveryBlocked: of an ordered subscription an ordering key waits for a message
	// that its handler does not take.
	DeliveryBlocked Condition = "delivery-blocked"
	Handler         Condition = "handler" // a subscription's handler takes nothing
	// HandlerFailing: most calls of a subscription's handler fail, and it is probed.
	HandlerFailing Condition = "handler-failing"
	// SendBackRefused: messages of a subscription are held, because no broker takes them back.
	SendBackRefused Condition = "send-back-refused"
	// AppNotReady: the readiness of a subscription's application says no.
	AppNotReady Condition = "app-not-ready"
	// SubscriptionPaused: an operator has paused one, and has not resumed it.
	SubscriptionPaused Condition = "subscription-paused"
	// NotJoined: the group of a subscription cannot be joined, so it gets nothing.
	NotJoined   Condition = "not-joined"
	DedupeStore Condition = "dedupe-store" // one that sidecars share does not answer
	SpoolFull   Condition = "spool-full"
	DiskLow     Condition = "disk-low"
	Damaged     Condition = "damaged" // the spool was, or is; until an operator has acknowledged it
	// ClockStep: the wall clock was set by more than an hour; until an operator has
	// confirmed it, or an hour has passed since, no TTL and no idempotency key ends.
	ClockStep Condition = "clock-step"
	// Undecided: transactions wait for an operator to decide them.
	Undecided Condition = "transaction-undecided"
	// StrangeHalf: a broker asks for the decision of a half message that nobody knows.
	StrangeHalf Condition = "half-message-unknown"
	// DroppedHalf: a broker had dropped the half message of an open transaction.
	DroppedHalf Condition = "half-message-dropped"
	// RenewedHalf: half messages wait so long for a decision that new ones took their places.
	RenewedHalf Condition = "half-message-renewed"
)

// settleTime is how long a condition must have lasted before it counts, so that
// readiness does not flap. Starting and stopping count at once, and so does a
// stalled sync, which has lasted when it is called so.
const settleTime = 10 * time.Second

var notReady = map[Condition]time.Duration{Starting: 0, Stopping: 0, SyncStalled: 0, ReadOnly: settleTime}

// known are listed by ?verbose also while they are not the case.
var known = []Condition{Starting, Stopping, ReadOnly, SyncStalled, Broker, TopicParked, TopicPaused, OrderingBlocked, DeliveryBlocked, Handler, HandlerFailing, SendBackRefused, AppNotReady, SubscriptionPaused, NotJoined, DedupeStore, SpoolFull, DiskLow, Damaged, ClockStep, Undecided, StrangeHalf, DroppedHalf, RenewedHalf}

// Degrading returns the known conditions that leave the sidecar ready.
func Degrading() []Condition {
	return slices.DeleteFunc(slices.Clone(known), func(name Condition) bool {
		_, unready := notReady[name]
		return unready
	})
}

// Conditions is what is the case now, and since when.
type Conditions struct {
	now func() time.Time

	mu      sync.Mutex
	active  map[Condition]time.Time
	details map[Condition]string                        // of those, where there is any
	changed func(name Condition, is bool, at time.Time) // nil: nobody is told; called with mu held
}

// NewConditions returns the conditions of a sidecar that is Starting.
func NewConditions() *Conditions { return newConditions(time.Now) }

func newConditions(now func() time.Time) *Conditions {
	return &Conditions{now: now, active: map[Condition]time.Time{Starting: now()}, details: map[Condition]string{}}
}

// Set says that a condition is, or is not, the case. Saying it again changes
// nothing.
func (c *Conditions) Set(name Condition, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(name, is)
}

func (c *Conditions) set(name Condition, is bool) {
	_, was := c.active[name]
	switch {
	case is == was:
		return
	case is:
		c.active[name] = c.now()
	default:
		delete(c.active, name)
		delete(c.details, name)
	}
	if c.changed != nil {
		c.changed(name, is, c.now())
	}
}

// Explain sets a condition where there are details, each of a thing that it is the case
// for, and tells them; without one it is not the case.
func (c *Conditions) Explain(name Condition, details []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(name, len(details) > 0)
	if len(details) > 0 {
		c.details[name] = strings.Join(details, "; ")
	}
}

// watch has changes told, in their order.
func (c *Conditions) watch(changed func(name Condition, is bool, at time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = changed
}

// Is reports whether a condition is the case.
func (c *Conditions) Is(name Condition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, is := c.active[name]
	return is
}

// Unready returns the conditions that keep the sidecar from being ready, sorted;
// none: it is ready.
func (c *Conditions) Unready() []Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []Condition
	for name, since := range c.active {
		if settle, counts := notReady[name]; counts && c.now().Sub(since) >= settle {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Degraded returns the conditions that are the case while accepts go on, sorted.
func (c *Conditions) Degraded() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := []string{}
	for name := range c.active {
		if _, counts := notReady[name]; !counts {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// ConditionStatus is one line of ?verbose. What it means, and what to do, is said of
// those that are the case.
type ConditionStatus struct {
	Name        Condition  `json:"name"`
	Is          bool       `json:"is"`
	Since       *time.Time `json:"since,omitempty"`
	StopsAccept bool       `json:"stops_accept"` // not ready while it is the case
	Means       string     `json:"means,omitempty"`
	Do          string     `json:"do,omitempty"`
	Detail      string     `json:"detail,omitempty"` // of what it is the case, and what is known of that
}

// list returns every known condition, and those of other names that are the case.
func (c *Conditions) list() []ConditionStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := slices.Clone(known)
	for name := range c.active {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[len(known):])
	list := make([]ConditionStatus, len(names))
	for i, name := range names {
		since, is := c.active[name]
		_, stops := notReady[name]
		list[i] = ConditionStatus{Name: name, Is: is, StopsAccept: stops}
		if is {
			list[i].Since = new(since.UTC().Truncate(time.Millisecond))
			list[i].Means, list[i].Do = advices[name].means, advices[name].do
			list[i].Detail = c.details[name]
		}
	}
	return list
}

// Active returns those that are the case, in the order of ?verbose; never nil.
func (c *Conditions) Active() []ConditionStatus {
	return slices.DeleteFunc(c.list(), func(one ConditionStatus) bool { return !one.Is })
}
