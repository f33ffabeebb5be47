package report

// Target is a ratio, and what is asked of it.
type Target struct {
	Name  string
	Value func(Round) (float64, bool) // false: not measured in this round
	Bound float64                     // 0: the ratio is only shown
	Least bool                        // Bound is the least that is asked; else it is the most
}

// Verdict is what became of a target.
type Verdict string

// The verdicts.
const (
	Met        Verdict = "met"
	Missed     Verdict = "MISSED"
	Unmeasured Verdict = "not measured"
	Shown      Verdict = "" // there is no bound
)

// judge compares the median; a figure that was not measured is not missed.
func (t Target) judge(run *Run) (s Spread, v Verdict) {
	s, ok := run.spread(t.Value)
	switch {
	case !ok:
		return s, Unmeasured
	case t.Bound == 0:
		return s, Shown
	case t.Least && s.Median >= t.Bound, !t.Least && s.Median <= t.Bound:
		return s, Met
	}
	return s, Missed
}

func (t Target) bound() string {
	switch {
	case t.Bound == 0:
		return ""
	case t.Least:
		return "≥ " + number(t.Bound)
	}
	return "≤ " + number(t.Bound)
}

// RateRatio is the messages per second of one to those of another.
func RateRatio(of, to Key) func(Round) (float64, bool) {
	return ratio(of, to, func(s Sample) float64 { return s.Rate })
}

// LatencyRatio is the median latency of one to that of another.
func LatencyRatio(of, to Key) func(Round) (float64, bool) {
	return ratio(of, to, func(s Sample) float64 { return s.P50.Seconds() })
}

// TailRatio is the p99 latency of one to that of another.
func TailRatio(of, to Key) func(Round) (float64, bool) {
	return ratio(of, to, func(s Sample) float64 { return s.P99.Seconds() })
}

// CPURatio is the processor time that a message costs one to what it costs another.
func CPURatio(of, to Key) func(Round) (float64, bool) {
	return ratio(of, to, func(s Sample) float64 {
		if s.Cost == nil {
			return 0
		}
		return s.Cost.CPU
	})
}

// CostOf is a part of what a peer spent.
func CostOf(of Key, part func(Cost) float64) func(Round) (float64, bool) {
	return func(r Round) (float64, bool) {
		s, has := r[of]
		if !has || s.Cost == nil {
			return 0, false
		}
		return part(*s.Cost), true
	}
}

func ratio(of, to Key, value func(Sample) float64) func(Round) (float64, bool) {
	return func(r Round) (float64, bool) {
		a, hasA := r[of]
		b, hasB := r[to]
		if !hasA || !hasB || value(b) == 0 {
			return 0, false
		}
		return value(a) / value(b), true
	}
}
