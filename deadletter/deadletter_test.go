package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// done runs a redrive of all, to its end.
func done(t *testing.T, f *fake, opts deadletter.Options) (deadletter.Progress, error) {
	t.Helper()
	r := deadletter.New(f, opts)
	err := r.Do(t.Context())
	return r.Progress(), err
}

// A redrive begins with a canary, whose outcomes it waits for, goes on at its
// rate, visits each once, and ends when all outcomes are known.
func TestRedriveBeginsWithACanaryAndKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: 30 * time.Second}
		f.add(205, "t", "ILLEGAL", "confirmed")
		began := time.Now()
		p, err := done(t, f, deadletter.Options{Rate: 20, Forwards: true})
		if err != nil || p.Phase != deadletter.Ended || p.Changed != 205 || p.Confirmed != 205 || p.Open != 0 || p.Chosen.Messages != 205 || p.Chosen.Bytes != 2050 {
			t.Fatalf("%+v, %v", p, err)
		}
		early := 0
		for _, l := range f.all {
			if l.at.Sub(began) < f.delay {
				early++
			}
		}
		if early != 5 {
			t.Errorf("%d were redriven before an outcome was known", early)
		}
		// 30 s for the canary, 10 s for 200 at 20 a second, 30 s for the last of them.
		if took := time.Since(began); took < 69*time.Second || took > 73*time.Second {
			t.Errorf("it took %v", took)
		}
		if n, most := f.redriven(); n != 205 || most != 1 {
			t.Errorf("%d were redriven, one of them %d times", n, most)
		}
	})
}

// It stops when they die again: at once in the canary, later at a tenth.
func TestRedriveStopsWhenFailuresReturn(t *testing.T) {
	for name, tc := range map[string]struct {
		fill     func(*fake)
		redriven [2]int // from, to
		stops    bool
	}{
		"all die again": {func(f *fake) { f.add(1000, "t", "ILLEGAL", "ILLEGAL") }, [2]int{5, 5}, true},
		"one of the canary": {func(f *fake) {
			f.add(4, "t", "A", "confirmed")
			f.add(1, "t", "A", "B")
			f.add(500, "t", "A", "confirmed")
		}, [2]int{5, 5}, true},
		"the cause comes back": {func(f *fake) { f.add(100, "t", "A", "confirmed"); f.add(1000, "t", "A", "A") }, [2]int{105, 200}, true},
		"one in twenty dies": {func(f *fake) {
			for range 20 {
				f.add(19, "t", "A", "confirmed")
				f.add(1, "t", "A", "A")
			}
		}, [2]int{400, 400}, false},
		"fewer than canaries are": {func(f *fake) { f.add(2, "t", "A", "A") }, [2]int{2, 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{delay: time.Second}
				tc.fill(f)
				p, err := done(t, f, deadletter.Options{Forwards: true})
				n, most := f.redriven()
				if errors.Is(err, deadletter.ErrReturned) != tc.stops || n < tc.redriven[0] || n > tc.redriven[1] || most > 1 {
					t.Fatalf("%d redriven, %d times: %+v, %v", n, most, p, err)
				}
				if p.Changed != n {
					t.Errorf("%d are counted, %d were redriven", p.Changed, n)
				}
				if tc.stops && !regexp.MustCompile(`, by cause: [0-9]+ of (A|B|ILLEGAL)$`).MatchString(err.Error()) {
					t.Errorf("it says %q", err)
				}
			})
		})
	}
}

// In an outage nothing has an outcome: it waits with its canary, and can be stopped.
func TestRedriveWaitsInAnOutageAndCanBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(100, "t", "A", "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := deadletter.New(f, deadletter.Options{Forwards: true})
		if err := r.Do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n, _ := f.redriven(); n != 5 {
			t.Errorf("%d were redriven with no outcome known", n)
		}
		if p := r.Progress(); p.Changed != 5 || p.Open != 5 || p.Phase != deadletter.Ended {
			t.Errorf("%+v", p)
		}
	})
}

// What is redriven to a topic that is paused has no outcome, and it is said why; it goes on
// when the topic is resumed, and with what is of others.
func TestRedriveOfAPausedTopicSaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(1, "other", "A", "confirmed")
		f.add(2, "orders", "A", "confirmed")
		f.add(4, "other", "A", "confirmed")
		f.pause("orders")
		r := deadletter.New(f, deadletter.Options{Forwards: true})
		ended := make(chan error, 1)
		go func() { ended <- r.Do(t.Context()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if p := r.Progress(); p.Phase != deadletter.Canary || p.Changed != 5 || p.Confirmed != 3 || p.Open != 2 || fmt.Sprint(p.Paused) != "[orders]" {
			t.Errorf("while it is paused: %+v", p)
		}
		f.pause("")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if p := r.Progress(); p.Changed != 7 || p.Confirmed != 7 || len(p.Paused) != 0 {
			t.Errorf("resumed: %+v", p)
		}
	})
}

// An outage that begins after the canary bounds what has no outcome.
func TestRedriveBoundsWhatHasNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(5, "t", "A", "confirmed")
		f.add(2000, "t", "A", "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := deadletter.New(f, deadletter.Options{Rate: 1000, Forwards: true})
		if err := r.Do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if p := r.Progress(); p.Open < 400 || p.Open > 500 {
			t.Errorf("%d are open", p.Open)
		}
	})
}

// Where nothing is forwarded there is no canary, and no outcome to wait for.
func TestRedriveWithoutAForwarder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(300, "t", "A", "")
		p, err := done(t, f, deadletter.Options{Rate: 1000, Forwards: false})
		if err != nil || p.Changed != 300 || p.Open != 0 {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestDiscardGoesByItsFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(300, "t", "A", "")
		f.add(3, "t", "B", "")
		f.add(5, "u", "A", "")
		f.bad = []message.ID{f.all[7].ID}
		began := time.Now()
		p, err := done(t, f, deadletter.Options{Discard: true, Forwards: true, Filter: deadletter.Filter{Query: spool.Query{Topic: "t", Cause: "A"}}})
		if err != nil || p.Changed != 299 || p.Refused != 1 || p.Chosen.Messages != 300 {
			t.Fatalf("%+v, %v", p, err)
		}
		for i, l := range f.all {
			if gone := l.State == message.StateDiscarded; gone != (i < 300 && i != 7) {
				t.Errorf("message %d: %s", i, l.State)
			}
		}
		if time.Since(began) > 0 {
			t.Error("it was slowed down, and no rate was asked for")
		}
		ids := []message.ID{f.all[301].ID, f.all[0].ID, {1}}
		p, err = done(t, f, deadletter.Options{Discard: true, Filter: deadletter.Filter{IDs: ids}})
		if err != nil || p.Changed != 1 || f.all[301].State != message.StateDiscarded {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// One that is named twice is one.
func TestNamedTwiceIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.add(300, "t", "A", "confirmed")
		var ids []message.ID
		for range 2 {
			for _, l := range f.all {
				ids = append(ids, l.ID)
			}
		}
		p, err := done(t, f, deadletter.Options{Rate: 1000, Forwards: true, Filter: deadletter.Filter{IDs: ids}})
		if err != nil || p.Chosen.Messages != 300 || p.Chosen.Bytes != 3000 || p.Changed != 300 || p.Refused != 0 || p.Confirmed != 300 {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// What fails ends the run, and what was changed before is counted, also of the
// call that failed.
func TestRunEndsWithTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{part: 37}
		f.add(500, "t", "A", "confirmed")
		f.stop = func(n int) {
			if n == 2 {
				f.err = spool.ErrClosed
			}
		}
		p, err := done(t, f, deadletter.Options{Discard: true})
		if !errors.Is(err, spool.ErrClosed) || p.Changed != 237 || len(f.calls) != 2 {
			t.Errorf("%+v, %v, calls %v", p, err, f.calls)
		}
	})
}

func TestCausesAreGrouped(t *testing.T) {
	f := &fake{}
	f.add(2, "b", "ILLEGAL", "")
	f.add(1, "a", "TOO_LARGE", "")
	for i := range 12 {
		f.add(1, fmt.Sprintf("t%02d", i), "ILLEGAL", "")
	}
	f.all[0].Message.OrderingKey = "k"
	all, unreadable, err := deadletter.Causes(t.Context(), f, deadletter.Filter{})
	if err != nil || len(all) != 2 || unreadable != 1 {
		t.Fatalf("%+v, %d, %v", all, unreadable, err)
	}
	a, b := all[0], all[1]
	if a.Cause != "ILLEGAL" || a.Messages != 14 || a.Bytes != 140 || a.Ordered != 1 || len(a.Topics) != 10 || a.More != 3 || a.Topics[0] != "b" || a.Example != f.all[14].ID || !a.Oldest.Equal(f.all[0].AcceptedAt) {
		t.Errorf("%+v", a)
	}
	if b.Cause != "TOO_LARGE" || b.Messages != 1 || b.Error != "error of TOO_LARGE" {
		t.Errorf("%+v", b)
	}
}
