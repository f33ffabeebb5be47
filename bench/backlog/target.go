package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/remora-mq/remora/bench/report"
)

// targets are what a backlog may cost. All but the first are read once a run.
func (r *outage) targets() []report.Target {
	at := func(peer string) report.Key { return report.Key{Peer: peer, Connections: r.connections} }
	once := func(name string, value, most float64) report.Target {
		return report.Target{Name: name, Bound: most, Value: func(report.Round) (float64, bool) { return value, true }}
	}
	all := []report.Target{
		{
			Name:  fmt.Sprintf("msg/s at %d, full / nearly empty spool", r.connections),
			Value: report.RateRatio(at(fullSpool), at(nearlyEmpty)), Bound: 0.9, Least: true,
		},
		once("anonymous memory with all waiting, MiB", r.memFull, 160),
		once("the same just after opening, MiB", r.memOpened, 0),
		once("disk with all waiting, MiB", r.diskFull, 0),
		once("open after kill -9, s", r.killed.Seconds(), 3),
		once("open after a clean stop, s", r.stopped.Seconds(), 1),
		once("drain into a broker that takes all, msg/s", r.drained, 0),
		once(fmt.Sprintf("disk %v after the drain, all, MiB", r.settle), r.diskAll, 0),
		once(fmt.Sprintf("disk %v after the drain, beyond what is kept, MiB", r.settle), r.diskLeft, 128),
		once(fmt.Sprintf("anonymous memory %v after the drain, MiB", r.settle), r.memAfter, 64),
		once(fmt.Sprintf("anonymous memory %v after full load, MiB", r.settle), r.memLoaded, 64),
		once(fmt.Sprintf("head found after %d messages, ms", r.passed), millis(median(r.heads)), 1),
	}
	if r.sidecar != "" {
		all = append(all,
			once("fresh sidecar: resident memory, MiB", r.fresh.resident, 40),
			once("fresh sidecar: CPU, percent of a core", r.fresh.cpu, 0.2))
	}
	return all
}

// title says what the figures are of.
func (r *outage) title() string {
	return fmt.Sprintf("%d messages of 1 KiB wait for a broker that refuses everything. %s, %d CPUs.",
		r.waiting, runtime.Version(), runtime.NumCPU())
}

const aboutDisk = "What is kept on the disk are prepared logs, receipts and keys; there is no ballast here."

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
