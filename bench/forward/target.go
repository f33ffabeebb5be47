package main

import (
	"time"

	"github.com/remora-mq/remora/bench/report"
)

// targets are the ratios of the page, and what is asked of them.
func (o *options) targets() []report.Target {
	at := func(peer string, connections int) report.Key { return report.Key{Peer: peer, Connections: connections} }
	one := at(drainsOne, o.attempts)
	return []report.Target{
		{
			Name:  "drain of one topic / client-go in batches, msg/s",
			Value: report.RateRatio(one, at(batches, o.attempts)), Bound: 0.9, Least: true,
		},
		{
			Name:  "drain of one topic / the same with our properties, msg/s",
			Value: report.RateRatio(one, at(dressed, o.attempts)), Least: true,
		},
		{
			Name:  "drain of one topic / client-go SendSync, msg/s",
			Value: report.RateRatio(one, at(singles, o.attempts)), Bound: 5, Least: true,
		},
		{
			Name:  "many topics and keys / one topic, msg/s",
			Value: report.RateRatio(at(drainsMany, o.attempts), one), Bound: 0.8, Least: true,
		},
		{
			Name:  "the same beside a stuck topic / one topic, msg/s",
			Value: report.RateRatio(at(drainsBeside, o.attempts), one), Bound: 0.7, Least: true,
		},
		{
			Name:  "CPU, accept and forward / accept",
			Value: report.CPURatio(at(forwards, o.connections), at(accepts, o.connections)), Bound: 2,
		},
		{
			Name:  "median at low load, POST to confirmation / SendSync",
			Value: report.LatencyRatio(at(confirmed, 1), at(singles, 1)), Bound: 2,
		},
		{
			Name:  "median at low load, Prefer: wait - POST to confirmation, ms",
			Value: later(at(waits, 1), at(confirmed, 1)), Bound: 1,
		},
	}
}

// later is how much the median of one is above that of another, in milliseconds.
func later(of, to report.Key) func(report.Round) (float64, bool) {
	return func(r report.Round) (float64, bool) {
		a, b := r[of].P50, r[to].P50
		return float64(a-b) / float64(time.Millisecond), a != 0 && b != 0
	}
}
