package giving

import (
	"context"
	"testing"
	"time"
)

const mib = 1 << 20

// rig counts the calls of a Giver, and lets each end before the next question.
type rig struct {
	*Giver

	t     *testing.T
	calls int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	r.Giver = New(func(context.Context, State) { r.calls++ })
	return r
}

func (r *rig) wants(calls, second int, s State) {
	r.t.Helper()
	r.Consider(r.t.Context(), time.Unix(1000+int64(second), 0), s)
	if r.Wait(); r.calls != calls {
		r.t.Errorf("second %d: %d calls, want %d", second, r.calls, calls)
	}
}

// TestSpaceIsGivenBackWhenItIsQuiet asks once a second, as of a spool that is
// filled, drained, and then left alone.
func TestSpaceIsGivenBackWhenItIsQuiet(t *testing.T) {
	r := newRig(t)
	for second, s := range []struct{ wrote, held int64 }{
		{100, 90}, {100, 90}, {100, 90}, {100, 90}, {100, 90}, {100, 90}, // quiet, but much is held
		{110, 0}, {111, 0}, {111, 0}, {111, 0}, {111, 0}, // drained, and a mebibyte is little
	} {
		r.wants(0, second, State{Wrote: s.wrote * mib, Held: s.held * mib, Used: 203 * mib, Fixed: 3 * mib})
	}
	at := State{Wrote: 111 * mib, Used: 203 * mib, Fixed: 3 * mib}
	r.wants(1, 11, at)
	at.Used = 13 * mib
	r.wants(1, 12, at) // its end is seen
	at.Used += Much - 1
	r.wants(1, 60, at)
	at.Used++
	r.wants(2, 61, at)
	r.wants(2, 62, at) // its end is seen: all of that was left
	at.Used = 3 * mib  // and has gone since
	r.wants(2, 80, at)
	at.Used += Much
	r.wants(3, 81, at)
}

// TestSlowWritesKeepItWaiting: little each second is much in five of them.
func TestSlowWritesKeepItWaiting(t *testing.T) {
	r := newRig(t)
	s := State{Used: 500 * mib, Wrote: 100 * mib}
	for second := range 20 {
		s.Wrote += mib / 2
		r.wants(0, second, s)
	}
}

// TestWhatIsMissedIsGivenBackUnderLoad: also while much is held, and not at all where
// there is no room to do it.
func TestWhatIsMissedIsGivenBackUnderLoad(t *testing.T) {
	r := newRig(t)
	s := State{Wrote: 500 * mib, Used: 500 * mib, Held: 400 * mib, Enough: Never}
	r.wants(0, 0, s)
	s.Enough = 100*mib + 1
	r.wants(0, 1, s)
	s.Enough--
	r.wants(1, 2, s)
	s.Used += 400 * mib
	r.wants(1, 3, s) // its end is seen; what there is now counts as left
	s.Used += 100 * mib
	r.wants(1, 17, s)
	r.wants(2, 18, s) // 15 s after its end
}

// TestWhatIsSettledMeanwhileIsGivenBack: a slow drain goes on while space is given back,
// and writes little.
func TestWhatIsSettledMeanwhileIsGivenBack(t *testing.T) {
	r := newRig(t)
	s := State{Used: 900 * mib, Held: 60 * mib}
	r.wants(1, 0, s)
	s = State{Used: 80 * mib} // of which 60 were settled while the call ran
	r.wants(1, 1, s)
	s.Used = 83 * mib
	r.wants(1, 16, s)
	s.Used = 84 * mib
	r.wants(2, 17, s)
}
