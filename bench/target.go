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
	for _, c := range o.connections {
		all = append(all, costs(at(remora, c))...)
	}
	for _, other := range o.others {
		for _, c := range o.connections {
			if other == (peer.Redis{}) {
				all = append(all, beside(at(remora, c), at(other, c))...)
			} else {
				all = append(all, aheadOf(at(remora, c), at(other, c)))
			}
		}
	}
	return all
}

// many is the number of connections from which on commits are shared.
const many = 64

func costs(remora report.Key) []report.Target {
	if remora.Connections < many {
		return nil
	}
	name := func(what string) string { return fmt.Sprintf("%s at %d", what, remora.Connections) }
	return []report.Target{
		{Name: name("CPU s per 100,000"), Value: report.CostOf(remora, func(c report.Cost) float64 { return c.CPU }), Bound: 3},
		{Name: name("bytes written per byte"), Value: report.CostOf(remora, func(c report.Cost) float64 { return c.Written }), Bound: 3.5},
		{Name: name("anonymous memory, MiB"), Value: report.CostOf(remora, func(c report.Cost) float64 { return c.Anonymous }), Bound: 96},
	}
}

// aheadOf is what is asked beside those that do the same work in a slower way.
func aheadOf(remora, other report.Key) report.Target {
	return report.Target{
		Name:  fmt.Sprintf("msg/s at %d / %s", remora.Connections, other.Peer),
		Value: report.RateRatio(remora, other), Bound: 1, Least: true,
	}
}

// beside is what is asked beside the fastest store that syncs each message.
func beside(remora, other report.Key) []report.Target {
	rate := report.Target{
		Name:  fmt.Sprintf("msg/s at %d / %s", remora.Connections, other.Peer),
		Value: report.RateRatio(remora, other), Bound: 0.7, Least: true,
	}
	tail := report.Target{
		Name:  fmt.Sprintf("p99 at %d / %s", remora.Connections, other.Peer),
		Value: report.TailRatio(remora, other),
	}
	if remora.Connections >= many {
		tail.Bound = 2
	}
	if remora.Connections > many {
		rate.Bound = 1
	}
	return []report.Target{rate, tail}
}
