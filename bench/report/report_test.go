package report

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	tests := map[float64]string{
		0: "0", 0.0004: "0", 0.0312: "0.031", 0.9999: "1.000", 1: "1.00", 2.499: "2.50", 45.678: "45.7",
		123.4: "123", 1234.5: "1,234", 1234567: "1,234,567", -1234: "-1,234", -123: "-123",
	}
	for v, want := range tests {
		if got := number(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	tests := []struct {
		values []float64
		want   Spread
		ok     bool
	}{
		{nil, Spread{}, false},
		{[]float64{3}, Spread{3, 3, 3}, true},
		{[]float64{5, 1, 2}, Spread{2, 1, 5}, true},
		{[]float64{4, 1, 2, 9}, Spread{3, 1, 9}, true},
	}
	for _, tt := range tests {
		if got, ok := spreadOf(tt.values); got != tt.want || ok != tt.ok {
			t.Errorf("%v: got %+v %v, want %+v", tt.values, got, ok, tt.want)
		}
	}
}

var (
	ours   = Key{"ours", 64}
	theirs = Key{"theirs", 64}
)

// rates is a run in which ours and theirs had these rates, round by round.
func rates(pairs ...[2]float64) *Run {
	run := &Run{Title: "Title.", Machine: "Quiet.", Peers: []string{"ours", "theirs"}, Connections: []int{1, 64}}
	for _, p := range pairs {
		run.Rounds = append(run.Rounds, Round{
			ours:   {Rate: p[0], P50: 2 * time.Millisecond, P99: 9 * time.Millisecond, Client: 0.5, Cost: &Cost{CPU: 2.5, Written: 1.25, Anonymous: 40, Shared: 21.5}},
			theirs: {Rate: p[1], P50: time.Millisecond, P99: 10 * time.Millisecond},
		})
	}
	return run
}

func TestJudge(t *testing.T) {
	drifting := rates([2]float64{50, 100}, [2]float64{5, 10}, [2]float64{60, 100}) // ratios 0.5, 0.5, 0.6
	tests := []struct {
		name   string
		target Target
		want   Verdict
		median float64
	}{
		{"at least, exactly", Target{Value: RateRatio(ours, theirs), Bound: 0.5, Least: true}, Met, 0.5},
		{"at least, below", Target{Value: RateRatio(ours, theirs), Bound: 0.51, Least: true}, Missed, 0.5},
		{"at most, exactly", Target{Value: LatencyRatio(ours, theirs), Bound: 2}, Met, 2},
		{"at most, above", Target{Value: LatencyRatio(ours, theirs), Bound: 1.9}, Missed, 2},
		{"tail", Target{Value: TailRatio(ours, theirs), Bound: 1}, Met, 0.9},
		{"no bound", Target{Value: RateRatio(ours, theirs)}, Shown, 0.5},
		{"cost", Target{Value: CostOf(ours, func(c Cost) float64 { return c.CPU }), Bound: 2}, Missed, 2.5},
		{"no cost", Target{Value: CostOf(theirs, func(c Cost) float64 { return c.CPU }), Bound: 3}, Unmeasured, 0},
		{"not measured", Target{Value: RateRatio(ours, Key{"theirs", 1}), Bound: 1}, Unmeasured, 0},
		{"a peer that did nothing", Target{Value: RateRatio(ours, Key{}), Bound: 1, Least: true}, Unmeasured, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s, v := tt.target.judge(drifting); v != tt.want || math.Abs(s.Median-tt.median) > 1e-9 {
				t.Errorf("got %+v %q, want %v %q", s, v, tt.median, tt.want)
			}
		})
	}
}

func TestRatioToNothingIsNoRatio(t *testing.T) {
	target := Target{Value: RateRatio(ours, theirs), Bound: 1, Least: true}
	if s, v := target.judge(rates([2]float64{5, 0})); v != Unmeasured {
		t.Errorf("got %+v %q", s, v)
	}
}

func TestPage(t *testing.T) {
	var page strings.Builder
	missed, err := Write(&page, rates([2]float64{1000, 2000}, [2]float64{1100, 2000}), []Target{
		{Name: "msg/s at 64 / theirs", Value: RateRatio(ours, theirs), Bound: 0.6, Least: true},
		{Name: "p99 at 64 / theirs", Value: TailRatio(ours, theirs), Bound: 1},
		{Name: "msg/s at 1 / theirs", Value: RateRatio(ours, Key{"theirs", 1})},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `Title.
Quiet.
Columns are connections; figures are median (min–max), rounds: 2.

messages per second   1                    64
  ours                –   1,050 (1,000–1,100)
  theirs              –   2,000 (2,000–2,000)

median latency, ms   1                 64
  ours               –   2.00 (2.00–2.00)
  theirs             –   1.00 (1.00–1.00)

p99 latency, ms   1                 64
  ours            –   9.00 (9.00–9.00)
  theirs          –   10.0 (10.0–10.0)

server: CPU s per 100,000 messages   1                 64
  ours                               –   2.50 (2.50–2.50)

server: bytes written per byte of body   1                 64
  ours                                   –   1.25 (1.25–1.25)

server: most anonymous memory, MiB   1                 64
  ours                               –   40.0 (40.0–40.0)

server: messages a commit   1                 64
  ours                      –   21.5 (21.5–21.5)

load generator: CPU s per 100,000 messages   1                    64
  ours                                       –   0.500 (0.500–0.500)

ratios, each within a round                          target
  msg/s at 64 / theirs        0.525 (0.500–0.550)   ≥ 0.600         MISSED
  p99 at 64 / theirs          0.900 (0.900–0.900)    ≤ 1.00            met
  msg/s at 1 / theirs                           –             not measured

*** MISSED: msg/s at 64 / theirs is 0.525, asked is ≥ 0.600
`
	if got := page.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(missed) != 1 {
		t.Errorf("missed %q", missed)
	}
}

func TestNothingMissed(t *testing.T) {
	var page strings.Builder
	missed, err := Write(&page, rates([2]float64{1, 1}), nil)
	if err != nil || missed != nil || !strings.HasSuffix(page.String(), "\nNo target was missed.\n") {
		t.Errorf("%q, %v\n%s", missed, err, page.String())
	}
}
