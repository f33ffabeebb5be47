package main

import (
	"fmt"

	"github.com/remora-mq/remora/bench/report"
)

// What check-backs are bounded by, as they ship.
const (
	mostAtOnce   = 16
	mostInSecond = 200 + mostAtOnce // those that are on their way at once may come bunched
)

// targets are the ratios of the page, and what is asked of them.
func (t *trial) targets() []report.Target {
	var all []report.Target
	for _, c := range t.run.Connections {
		at := func(peer string) report.Key { return report.Key{Peer: peer, Connections: c} }
		all = append(all, report.Target{
			Name:  fmt.Sprintf("msg/s at %d, %s / %s", c, decided, plain),
			Value: report.RateRatio(at(decided), at(plain)), Bound: 0.5, Least: true,
		}, report.Target{
			Name:  fmt.Sprintf("CPU at %d, the same", c),
			Value: report.CPURatio(at(decided), at(plain)),
		})
		for _, name := range []string{t.opened(), t.due()} {
			all = append(all, report.Target{
				Name:  fmt.Sprintf("msg/s at %d, %s / none", c, name),
				Value: report.RateRatio(at(name), at(plain)), Bound: 0.9, Least: true,
			}, report.Target{
				Name:  fmt.Sprintf("CPU at %d, the same", c),
				Value: report.CPURatio(at(name), at(plain)),
			})
		}
	}
	once := func(name string, value, most int) report.Target {
		return report.Target{Name: name, Bound: float64(most), Value: func(report.Round) (float64, bool) { return float64(value), t.pace.all > 0 }}
	}
	return append(all, once("check-backs in any second", t.pace.inSecond, mostInSecond), once("check-backs at once", t.pace.atOnce, mostAtOnce))
}
