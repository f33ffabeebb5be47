package report

import (
	"strconv"
	"time"
)

// figure is one table of the page: what is shown of each sample.
type figure struct {
	title string
	value func(Sample) (float64, bool)
}

var figures = []figure{
	{"messages per second", known(func(s Sample) float64 { return s.Rate })},
	{"median latency, ms", known(func(s Sample) float64 { return millis(s.P50) })},
	{"p99 latency, ms", known(func(s Sample) float64 { return millis(s.P99) })},
	{"server: CPU s per 100,000 messages", ofCost(func(c *Cost) float64 { return c.CPU })},
	{"server: bytes written per byte of body", ofCost(func(c *Cost) float64 { return c.Written })},
	{"server: most anonymous memory, MiB", ofCost(func(c *Cost) float64 { return c.Anonymous })},
	{"server: messages a commit", ofCost(func(c *Cost) float64 { return c.Shared })},
	{"server: mean time of a commit, ms", ofCost(func(c *Cost) float64 { return millis(c.Commit) })},
	{"load generator: CPU s per 100,000 messages", known(func(s Sample) float64 { return s.Client })},
}

// known leaves out what is 0: it was not measured.
func known(value func(Sample) float64) func(Sample) (float64, bool) {
	return func(s Sample) (float64, bool) {
		v := value(s)
		return v, v != 0
	}
}

func ofCost(value func(*Cost) float64) func(Sample) (float64, bool) {
	return known(func(s Sample) float64 {
		if s.Cost == nil {
			return 0
		}
		return value(s.Cost)
	})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// table has a row a peer, without those that have no such figure;
// nil: nobody has.
func (f figure) table(run *Run) table {
	head := []string{f.title}
	for _, c := range run.Connections {
		head = append(head, strconv.Itoa(c))
	}
	t := table{head}
	for _, peer := range run.Peers {
		row, empty := []string{"  " + peer}, true
		for _, c := range run.Connections {
			s, ok := run.spread(func(r Round) (float64, bool) { return f.of(r, Key{peer, c}) })
			if !ok {
				row = append(row, none)
				continue
			}
			row, empty = append(row, s.String()), false
		}
		if !empty {
			t = append(t, row)
		}
	}
	if len(t) == 1 {
		return nil
	}
	return t
}

func (f figure) of(r Round, k Key) (float64, bool) {
	s, ok := r[k]
	if !ok {
		return 0, false
	}
	return f.value(s)
}

// spread collects a value over the rounds that have it.
func (run *Run) spread(value func(Round) (float64, bool)) (Spread, bool) {
	var values []float64
	for _, r := range run.Rounds {
		if v, ok := value(r); ok {
			values = append(values, v)
		}
	}
	return spreadOf(values)
}
