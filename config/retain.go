package config

import "fmt"

// Values of spool.retain besides a duration.
const (
	RetainAuto = "auto" // retainDefault, when the broker is not known to flush what it confirms
	RetainOff  = "off"

	retainDefault = 10 * Minute
)

// RetainFor is spool.retain as a time, 0: nothing is kept. flushes says whether
// the broker has on its disk what it confirms.
func (s Spool) RetainFor(flushes bool) (d Duration, err error) {
	switch {
	case s.Retain == RetainOff || s.Retain == RetainAuto && flushes:
		return 0, nil
	case s.Retain == RetainAuto:
		return retainDefault, nil
	}
	if err := d.UnmarshalText([]byte(s.Retain)); err != nil {
		return 0, fmt.Errorf("%w; or %s, or %s", err, RetainAuto, RetainOff)
	}
	if d < Second {
		return 0, fmt.Errorf("%s is below the least, 1s; %s keeps nothing", d, RetainOff)
	}
	return d, nil
}
