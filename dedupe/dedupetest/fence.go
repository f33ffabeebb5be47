package dedupetest

import (
	"context"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// countsAreOfOneContent: going back to the first content begins at 1, too.
func countsAreOfOneContent(s *subject) {
	s.release(s.begun(1), true)
	s.release(s.begun(2), true)
	s.release(s.want(other, dedupe.Begun, 1, false), true)
	s.release(s.begun(1), true)
	s.done(s.begun(2))
	s.release(s.want(other, dedupe.Begun, 1, true), true)
	s.want(one, dedupe.Repeat, 0, false)
	s.want(other, dedupe.Begun, 2, true)
}

// takeoverFencesForGood: also when who took over is done with it, or gave up.
func takeoverFencesForGood(s *subject) {
	former := s.begun(1)
	s.Advance(lease + lease/10)
	s.release(s.begun(2), true)
	ctx := context.Background()
	s.fenced("done after a release", s.Store.Done(ctx, key, former))
	s.fenced("release after a release", s.Store.Release(ctx, key, former, false))
	m := s.begun(3)
	s.done(m)
	s.fenced("done after a done", s.Store.Done(ctx, key, former))
	s.want(one, dedupe.Repeat, 0, false)
}

func extendNeedsAHold(s *subject) {
	ctx := context.Background()
	m := s.begun(1)
	s.release(m, true)
	s.fenced("extend after release", s.Store.Extend(ctx, key, m, lease))
	m = s.begun(2)
	s.done(m)
	s.fenced("extend after done", s.Store.Extend(ctx, key, m, lease))
}

// lateDoneOfAConflict keeps what both contents did.
func lateDoneOfAConflict(s *subject) {
	s.done(s.begun(1))
	m := s.want(other, dedupe.Begun, 1, true)
	s.Advance(lease + lease/10)
	s.done(m)
	s.want(one, dedupe.Repeat, 0, false)
	s.want(other, dedupe.Repeat, 0, false)
}

func leaseIsWithinTheWindow(s *subject) {
	m, err := s.Store.Begin(context.Background(), key, one, 3*s.Window)
	s.no(err)
	if d := time.Until(m.Until); d > s.Window+time.Minute || d < s.Window/2 {
		s.Errorf("the lease ends in %v, the window is %v", d, s.Window)
	}
	s.no(s.Store.Extend(context.Background(), key, m, 3*s.Window))
	s.Advance(s.Window + s.Window/10)
	if m := s.begin(one); m.Verdict != dedupe.Begun {
		s.Errorf("past the window: %v", m.Verdict)
	}
}

// windowGoesOnWithTraffic: repeats do not end it, nor do they make it longer.
func windowGoesOnWithTraffic(s *subject) {
	s.done(s.begun(1))
	for range 9 {
		s.Advance(s.Window / 10)
		s.want(one, dedupe.Repeat, 0, false)
	}
	for range 3 {
		s.Advance(s.Window / 2)
		s.beginKey(dedupe.Key{Scope: key.Scope, Key: "traffic"}, one)
	}
	s.begun(1)
}

// othersSeeTheHold, and take over when its lease ends: as another sidecar does.
func othersSeeTheHold(s *subject) {
	if s.Second == nil {
		return
	}
	second := &subject{T: s.T, Instance: &Instance{Store: s.Second(), Window: s.Window, Advance: s.Advance}}
	former := s.begun(1)
	second.want(one, dedupe.InProgress, 0, false)
	s.Advance(lease - lease/10)
	second.want(one, dedupe.InProgress, 0, false)
	s.Advance(lease / 5)
	m := second.begun(2)
	s.fenced("done of the former", s.Store.Done(context.Background(), key, former))
	s.want(one, dedupe.InProgress, 0, false)
	second.done(m)
	s.want(one, dedupe.Repeat, 0, false)
	s.want(other, dedupe.Begun, 1, true)
	second.want(other, dedupe.InProgress, 0, true)
}
