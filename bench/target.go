package main

import (
	"fmt"

	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/bench/serve"
)

// targets are the ratios of the page, and what is asked of them.
func targets(o options) []report.Target {
	at := func(p peer.Peer, connections int) report.Key {
		return report.Key{Peer: p.Name(), Connections: connections}
	}
	remora, noStore := peer.Server{Kind: serve.Remora}, peer.Server{Kind: serve.NoStore}
	all := []report.Target{
		{
			Name:  "median latency at 1 / append + fdatasync",
			Value: report.LatencyRatio(at(remora, 1), at(peer.Append{}, 1)), Bound: 2.5,
		},
		{
			Name:  "msg/s at 64 / server without storing",
			Value: report.RateRatio(at(remora, 64), at(noStore, 64)), Bound: 0.3, Least: true,
		},
	}
	for _, c := range o.connections {
		all = append(all, report.Target{
			Name:  fmt.Sprintf("msg/s at %d / group-committed append", c),
			Value: report.RateRatio(at(remora, c), at(peer.GroupAppend{}, c)),
		})
	}
	for _, other := range o.others {
		for _, c := range o.connections {
			all = append(all,
				report.Target{Name: fmt.Sprintf("msg/s at %d / %s", c, other.Name()), Value: report.RateRatio(at(remora, c), at(other, c))},
				report.Target{Name: fmt.Sprintf("p99 at %d / %s", c, other.Name()), Value: report.TailRatio(at(remora, c), at(other, c))})
		}
	}
	return all
}
