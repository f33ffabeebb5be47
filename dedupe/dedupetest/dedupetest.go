package dedupetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// Instance is a store under test.
type Instance struct {
	Store dedupe.Store
	// Window of the store: long enough not to end by itself during a test.
	Window time.Duration
	// Advance lets d pass for the store.
	Advance func(d time.Duration)
	// Reopen closes the store and opens it again on the same data; nil: it
	// keeps nothing.
	Reopen func() dedupe.Store
	// Second opens one more store on the same data, as another sidecar has it;
	// nil: the store is of one sidecar.
	Second func() dedupe.Store
	// Within is the store for another window than Window, and shorter.
	Within func(window time.Duration) dedupe.Store
}

// Run tests the store that open returns, a fresh one for each test.
func Run(t *testing.T, open func(t *testing.T) *Instance) {
	tests := map[string]func(s *subject){
		"FirstBeginHolds":               firstBeginHolds,
		"DoneIsARepeat":                 doneIsARepeat,
		"DoneTwice":                     doneTwice,
		"ScopesAndKeysDoNotMix":         scopesAndKeysDoNotMix,
		"OtherContentIsAConflict":       otherContentIsAConflict,
		"ConflictKeepsWhatWasDone":      conflictKeepsWhatWasDone,
		"ReleaseCounts":                 releaseCounts,
		"ReleaseTwiceTakesOneOff":       releaseTwiceTakesOneOff,
		"AttemptsAreOfOneContent":       attemptsAreOfOneContent,
		"LeaseEnds":                     leaseEnds,
		"ExtendMovesTheEnd":             extendMovesTheEnd,
		"FormerHolderIsFenced":          formerHolderIsFenced,
		"LateDoneCounts":                lateDoneCounts,
		"DoneAfterReleaseCounts":        doneAfterReleaseCounts,
		"ForgetBeginsAtOne":             forgetBeginsAtOne,
		"ForgetKeepsWhatWasDone":        forgetKeepsWhatWasDone,
		"UnknownMarkIsFenced":           unknownMarkIsFenced,
		"WindowIsKept":                  windowIsKept,
		"WindowEnds":                    windowEnds,
		"WindowBeginsAtDone":            windowBeginsAtDone,
		"WindowOfAConflictBeginsAtDone": windowOfAConflictBeginsAtDone,
		"OneOfManyBegins":               oneOfManyBegins,
		"ManyTakeTurns":                 manyTakeTurns,
		"CancelledCallReturns":          cancelledCallReturns,
		"ClosedStoreRefuses":            closedStoreRefuses,
		"ReopenedStoreKnowsWhatWasDone": reopenedStoreKnows,
		"CountsAreOfOneContent":         countsAreOfOneContent,
		"TakeoverFencesForGood":         takeoverFencesForGood,
		"ExtendNeedsAHold":              extendNeedsAHold,
		"LateDoneOfAConflict":           lateDoneOfAConflict,
		"LeaseIsWithinTheWindow":        leaseIsWithinTheWindow,
		"WindowGoesOnWithTraffic":       windowGoesOnWithTraffic,
		"OthersSeeTheHold":              othersSeeTheHold,
		"WindowsAreOfTheirCallers":      windowsAreOfTheirCallers,
		"ManyContentsAreKnown":          manyContentsAreKnown,
		"ManyContentsAreOfOneKey":       manyContentsAreOfOneKey,
		"ManyContentsDoneTwice":         manyContentsDoneTwice,
		"ManyContentsKeepTheWindow":     manyContentsKeepTheWindow,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := open(t)
			test(&subject{T: t, Instance: i})
			if err := i.Store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// subject is an instance with words for what the tests do.
type subject struct {
	*testing.T
	*Instance
}

const lease = time.Minute

var (
	key   = dedupe.Key{Scope: "cluster/orders/billing", Key: "order-1"}
	one   = dedupe.Fingerprint{1}
	other = dedupe.Fingerprint{2}
)

func (s *subject) begin(f dedupe.Fingerprint) dedupe.Mark { return s.beginKey(key, f) }

func (s *subject) beginKey(k dedupe.Key, f dedupe.Fingerprint) dedupe.Mark {
	s.Helper()
	m, err := s.Store.Begin(context.Background(), k, f, lease)
	if err != nil {
		s.Fatalf("begin: %v", err)
	}
	return m
}

// want begins and checks what it finds.
func (s *subject) want(f dedupe.Fingerprint, v dedupe.Verdict, attempt int, conflict bool) dedupe.Mark {
	s.Helper()
	m := s.begin(f)
	if m.Verdict != v || m.Conflict != conflict || v == dedupe.Begun && m.Attempt != attempt {
		s.Fatalf("begin: %v, attempt %d, conflict %v; want %v, %d, %v", m.Verdict, m.Attempt, m.Conflict, v, attempt, conflict)
	}
	return m
}

func (s *subject) begun(attempt int) dedupe.Mark {
	s.Helper()
	return s.want(one, dedupe.Begun, attempt, false)
}

func (s *subject) done(m dedupe.Mark) {
	s.Helper()
	s.no(s.Store.Done(context.Background(), key, m))
}

func (s *subject) release(m dedupe.Mark, counts bool) {
	s.Helper()
	s.no(s.Store.Release(context.Background(), key, m, counts))
}

func (s *subject) no(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *subject) fenced(what string, err error) {
	s.Helper()
	if !errors.Is(err, dedupe.ErrFenced) {
		s.Errorf("%s: %v, want ErrFenced", what, err)
	}
}
