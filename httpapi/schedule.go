package httpapi

import (
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/duration"
)

// maxSchedule bounds delays and time to live: a slip of units, not a wish.
const maxSchedule = 10 * 365 * 24 * time.Hour

func readSchedule(r *request, p *publication) (err error) {
	if p.delay, err = r.option(nameDelay); err != nil {
		return err
	}
	if p.deliverAt, err = r.option(nameDeliverAt); err != nil {
		return err
	}
	if p.ttl, err = r.option(nameTTL); err != nil {
		return err
	}
	return checkSchedule(p.delay, p.deliverAt, p.ttl)
}

// checkSchedule refuses wrong values for what is wrong with them. A time that has
// passed is right: a repeat of a publish may come late.
func checkSchedule(delay, deliverAt, ttl string) error {
	if delay != "" && deliverAt != "" {
		return invalidOption("both delay and deliver_at are given; send one of them")
	}
	if err := checkSpan("delay", delay); err != nil {
		return err
	}
	if err := checkSpan("ttl", ttl); err != nil {
		return err
	}
	if deliverAt != "" {
		at, err := time.Parse(time.RFC3339, deliverAt)
		if err != nil {
			return invalidOption("deliver_at %.40q is not a time as RFC 3339 writes it, as 2026-01-02T03:04:05Z", deliverAt)
		}
		if time.Until(at) > maxSchedule {
			return invalidOption("deliver_at %.40q is more than 10 years away", deliverAt)
		}
	}
	return nil
}

// schedule makes the draft wait for what was asked for, and no longer than that, which
// checkSchedule has seen.
func (p *publication) schedule() (err error) {
	if p.delay != "" {
		p.Delay, err = parseDuration(p.delay)
	}
	if p.deliverAt != "" {
		p.DeliverAt, err = time.Parse(time.RFC3339, p.deliverAt)
	}
	if p.ttl != "" && err == nil {
		p.TTL, err = parseDuration(p.ttl)
	}
	return err
}

func checkSpan(name, value string) error {
	if value == "" {
		return nil
	}
	if d, err := parseDuration(value); err != nil || d == 0 {
		return invalidOption("%s %.40q is not a time greater than 0 with its unit (ms, s, m, h, d), as 90s, 10m or 7d, at most 10 years", name, value)
	}
	return nil
}

// parseDuration reads a duration with its unit, of at most maxSchedule.
func parseDuration(s string) (time.Duration, error) {
	d, err := duration.Parse(strings.TrimSpace(s))
	switch {
	case err != nil:
		return 0, invalidOption("%.40q is not a duration with its unit (ms, s, m, h, d)", s)
	case d < 0 || d > maxSchedule:
		return 0, invalidOption("the duration %.40q is out of range", s)
	}
	return d, nil
}
