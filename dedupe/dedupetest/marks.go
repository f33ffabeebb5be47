package dedupetest

import (
	"context"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

func firstBeginHolds(s *subject) {
	before := time.Now()
	m := s.begun(1)
	if d := m.Until.Sub(before); d < lease/2 || d > lease+time.Minute {
		s.Errorf("the lease ends in %v, asked for %v", d, lease)
	}
	second := s.want(one, dedupe.InProgress, 0, false)
	if second.Until.Before(before) || second.Until.After(m.Until.Add(time.Second)) {
		s.Errorf("the other's lease ends at %v, ours at %v", second.Until, m.Until)
	}
}

func doneIsARepeat(s *subject) {
	s.done(s.begun(1))
	s.want(one, dedupe.Repeat, 0, false)
	s.want(one, dedupe.Repeat, 0, false)
}

func doneTwice(s *subject) {
	m := s.begun(1)
	s.done(m)
	s.done(m) // the answer of the first may have been lost
	s.want(one, dedupe.Repeat, 0, false)
}

func scopesAndKeysDoNotMix(s *subject) {
	s.done(s.begun(1))
	for _, k := range []dedupe.Key{
		{Scope: key.Scope, Key: "order-2"}, {Scope: "cluster/orders/other", Key: key.Key},
		{Scope: key.Scope + key.Key, Key: ""}, {Scope: "", Key: key.Scope + key.Key},
		{Scope: key.Scope[:3], Key: key.Scope[3:] + key.Key},
	} {
		if m := s.beginKey(k, one); m.Verdict != dedupe.Begun || m.Attempt != 1 {
			s.Errorf("%q: %v, attempt %d", k, m.Verdict, m.Attempt)
		}
	}
}

func otherContentIsAConflict(s *subject) {
	s.done(s.begun(1))
	s.want(other, dedupe.Begun, 1, true)
	s.want(other, dedupe.InProgress, 0, true)
}

func conflictKeepsWhatWasDone(s *subject) {
	s.done(s.begun(1))
	m := s.want(other, dedupe.Begun, 1, true)
	s.want(one, dedupe.Repeat, 0, false)
	s.release(m, true)
	s.want(one, dedupe.Repeat, 0, false)
	s.done(s.want(other, dedupe.Begun, 2, true))
	s.want(other, dedupe.Repeat, 0, false)
}

func releaseCounts(s *subject) {
	s.release(s.begun(1), true)
	s.release(s.begun(2), true)
	s.release(s.begun(3), false)
	s.release(s.begun(3), false)
	s.begun(3)
}

func releaseTwiceTakesOneOff(s *subject) {
	s.release(s.begun(1), true)
	m := s.begun(2)
	s.release(m, false)
	s.release(m, false)
	s.begun(2)
}

func attemptsAreOfOneContent(s *subject) {
	s.release(s.begun(1), true)
	s.release(s.want(other, dedupe.Begun, 1, false), true)
	s.want(other, dedupe.Begun, 2, false)
}

func leaseEnds(s *subject) {
	s.begun(1)
	s.Advance(lease - lease/10)
	s.want(one, dedupe.InProgress, 0, false)
	s.Advance(lease / 5)
	s.begun(2)
}

func extendMovesTheEnd(s *subject) {
	m := s.begun(1)
	s.Advance(lease - lease/10)
	s.no(s.Store.Extend(context.Background(), key, m, lease))
	s.Advance(lease - lease/10)
	s.want(one, dedupe.InProgress, 0, false)
	s.Advance(lease / 5)
	s.no(s.Store.Extend(context.Background(), key, m, lease)) // late, but nobody came
	s.want(one, dedupe.InProgress, 0, false)
	s.Advance(lease + lease/10)
	s.begun(2)
}

func formerHolderIsFenced(s *subject) {
	m := s.begun(1)
	s.Advance(lease + lease/10)
	s.begun(2)
	ctx := context.Background()
	s.fenced("done", s.Store.Done(ctx, key, m))
	s.fenced("extend", s.Store.Extend(ctx, key, m, lease))
	s.fenced("release", s.Store.Release(ctx, key, m, true))
	s.fenced("forget", s.Store.Forget(ctx, key, m))
	s.want(one, dedupe.InProgress, 0, false)
}

func lateDoneCounts(s *subject) {
	m := s.begun(1)
	s.Advance(lease + lease/10)
	s.done(m)
	s.want(one, dedupe.Repeat, 0, false)
}

func doneAfterReleaseCounts(s *subject) {
	m := s.begun(1)
	s.release(m, true)
	s.done(m)
	s.want(one, dedupe.Repeat, 0, false)
}

func forgetBeginsAtOne(s *subject) {
	s.release(s.begun(1), true)
	m := s.begun(2)
	s.no(s.Store.Forget(context.Background(), key, m))
	s.begun(1)
}

func forgetKeepsWhatWasDone(s *subject) {
	s.done(s.begun(1))
	m := s.want(other, dedupe.Begun, 1, true)
	s.no(s.Store.Forget(context.Background(), key, m))
	s.want(one, dedupe.Repeat, 0, false)
	s.want(other, dedupe.Begun, 1, true)
}

func unknownMarkIsFenced(s *subject) {
	ctx := context.Background()
	s.fenced("zero mark", s.Store.Done(ctx, key, dedupe.Mark{}))
	s.fenced("made-up mark", s.Store.Done(ctx, key, dedupe.Mark{Token: 42}))
	s.begun(1)
}

// windowsAreOfTheirCallers: two subscriptions, whose windows differ, share a store.
func windowsAreOfTheirCallers(s *subject) {
	short := &subject{T: s.T, Instance: &Instance{Window: s.Window / 20, Store: s.Within(s.Window / 20), Advance: s.Advance}}
	k := dedupe.Key{Scope: "cluster/orders/short", Key: key.Key}
	finish := func() {
		s.Helper()
		for n := range many {
			m := short.beginKey(k, content(n))
			if m.Verdict != dedupe.Begun || m.Conflict != (n > 0) {
				s.Fatalf("content %d: %+v", n, m)
			}
			s.no(short.Store.Done(context.Background(), k, m))
		}
	}
	s.done(s.begun(1))
	finish()
	s.Advance(short.Window * 9 / 10)
	for n := range many {
		if m := short.beginKey(k, content(n)); m.Verdict != dedupe.Repeat {
			s.Errorf("content %d in the short window: %v", n, m.Verdict)
		}
	}
	s.want(one, dedupe.Repeat, 0, false)
	s.Advance(short.Window)
	finish()
	s.Advance(s.Window * 8 / 10)
	s.want(one, dedupe.Repeat, 0, false)
	finish()
}
