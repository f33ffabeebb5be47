package main

import (
	"time"

	"github.com/remora-mq/remora/bench/report"
)

// targets are the ratios of the page, and what is asked of them.
func (o *options) targets() []report.Target {
	at := func(peer string) report.Key { return report.Key{Peer: peer, Connections: o.calls} }
	low := func(peer string) report.Key { return report.Key{Peer: peer, Connections: 1} }
	all := []report.Target{
		{Name: "no dedupe / bare loop, msg/s", Value: report.RateRatio(at(plain), at(bare)), Bound: 0.5, Least: true},
		{Name: "local dedupe / no dedupe, msg/s", Value: report.RateRatio(at(inLocal), at(plain)), Bound: 0.8, Least: true},
		{Name: "redis always / no dedupe, msg/s", Value: report.RateRatio(at(redisAlways), at(plain)), Bound: 0.6, Least: true},
		{Name: "redis everysec / no dedupe, msg/s", Value: report.RateRatio(at(redisSecond), at(plain)), Bound: 0.6, Least: true},
		{Name: "CPU, no dedupe / bare loop", Value: report.CPURatio(at(plain), at(bare))},
		{Name: "CPU, local dedupe / no dedupe", Value: report.CPURatio(at(inLocal), at(plain))},
		{Name: "CPU, redis always / no dedupe", Value: report.CPURatio(at(redisAlways), at(plain))},
		{Name: "median at low load, no dedupe - bare call, ms", Value: later(low(plain), low(bare)), Bound: 1},
		{Name: "median at low load, local dedupe - bare call, ms", Value: later(low(inLocal), low(bare))},
		{Name: "median at low load, redis always - bare call, ms", Value: later(low(redisAlways), low(bare))},
	}
	if o.keys > 0 {
		many := at(o.manyKnown())
		all = append(all,
			report.Target{Name: "many keys / few keys, msg/s", Value: report.RateRatio(many, at(inLocal)), Bound: 0.8, Least: true},
			report.Target{Name: "many keys, anonymous memory, MiB", Value: report.CostOf(many, anonymous)},
			report.Target{Name: "of that the store's: above no dedupe, MiB", Value: above(many, at(plain)), Bound: 128},
		)
	}
	return all
}

func anonymous(c report.Cost) float64 { return c.Anonymous }

// above is how much more memory one took than another.
func above(of, than report.Key) func(report.Round) (float64, bool) {
	return func(r report.Round) (float64, bool) {
		a, isA := report.CostOf(of, anonymous)(r)
		b, isB := report.CostOf(than, anonymous)(r)
		return a - b, isA && isB
	}
}

// later is how much the median of one is above that of another, in milliseconds.
func later(of, to report.Key) func(report.Round) (float64, bool) {
	return func(r report.Round) (float64, bool) {
		a, b := r[of].P50, r[to].P50
		return float64(a-b) / float64(time.Millisecond), a != 0 && b != 0
	}
}
