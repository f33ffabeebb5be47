package config

import "fmt"

// Never is a forwarder.ordering.failover_after: an ordering key waits for its broker.
const Never = "never"

// Values of forwarder.ordering.on_dead.
const (
	OnDeadSkip  = "skip"  // later messages of its ordering key go on
	OnDeadBlock = "block" // they wait until it is redriven or discarded
)

// After is how long the broker of an ordering key fails before the key moves to
// another; 0: it never does.
func (o Ordering) After() (d Duration, err error) {
	if o.FailoverAfter == Never {
		return 0, nil
	}
	if err := d.UnmarshalText([]byte(o.FailoverAfter)); err != nil {
		return 0, fmt.Errorf("%w; or %s", err, Never)
	}
	if d < Second {
		return 0, fmt.Errorf("%s is below the least, 1s; %s: the key waits", d, Never)
	}
	return d, nil
}
