package forwarder

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// competition is topics with a backlog each, which take slots.
type competition struct {
	slots *slots
	lease time.Duration        // how long it takes a topic to have its next batch
	hold  func() time.Duration // how long an attempt has its slot

	mu   sync.Mutex
	got  map[string]int
	most int // attempts that ran at a time
}

// aSecond is what each attempt takes by default: so all slots become free at one
// moment, and are given long before all topics have their next batch.
func aSecond() time.Duration { return time.Second }

func compete(s *slots, forTime time.Duration, weights map[string]int) map[string]int {
	c := &competition{slots: s, lease: 5 * time.Millisecond, hold: aSecond, got: map[string]int{}}
	c.run(forTime, weights)
	return c.got
}

func (c *competition) run(forTime time.Duration, weights map[string]int) {
	ctx, stop := context.WithTimeout(context.Background(), forTime-time.Millisecond)
	defer stop()
	var all sync.WaitGroup
	for name, weight := range weights {
		t := newTurn(weight)
		all.Go(func() {
			for b := c.slots.queue(ctx, t, true, true); b != nil; b = c.slots.queue(ctx, t, true, true) {
				all.Go(func() { c.attempt(ctx, name, b) })
				time.Sleep(c.lease)
			}
		})
	}
	all.Wait()
}

func (c *competition) attempt(ctx context.Context, name string, b *batch) {
	if !c.slots.take(ctx, b) {
		return
	}
	c.mu.Lock()
	c.got[name]++
	hold := c.hold()
	c.mu.Unlock()
	c.slots.mu.Lock()
	c.most = max(c.most, c.slots.running)
	c.slots.mu.Unlock()
	time.Sleep(hold)
	c.slots.give(b)
}

// Topics share the slots by their weights, and none waits for ever; also where all
// slots are given back at one moment.
func TestSlotsAreSharedByWeight(t *testing.T) {
	for _, c := range []struct {
		slots int
		want  map[string]int // of 1000 seconds' attempts
		weigh map[string]int
	}{
		{1, map[string]int{"high": 600, "middle": 300, "low": 100}, map[string]int{"high": 6, "middle": 3, "low": 1}},
		{24, map[string]int{"high": 10_000, "middle": 9000, "low": 5000}, map[string]int{"high": 10, "middle": 9, "low": 5}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSlots(c.slots)
			got := compete(s, 1000*time.Second, c.weigh)
			for name, want := range c.want {
				if n := got[name]; n < want-want/20 || n > want+want/20 {
					t.Errorf("%d slots: %s got %d of %d, want %d", c.slots, name, n, 1000*c.slots, want)
				}
			}
			if s.running != 0 || len(s.waiting) != 0 || len(s.queuing) != 0 || s.weights != 0 {
				t.Errorf("%d slots are taken, %d wait", s.running, len(s.waiting))
			}
		})
	}
}

// TestSlotsPolicies has topics compete, drawn by chance: their weights, how many slots
// there are, how many of them the ramp allows, and how long attempts take, the same
// for all or not. Of each: no more run than may, and each topic gets its part, nearly:
// one that would have just half of all has that in its way when they end at once.
func TestSlotsPolicies(t *testing.T) {
	testscale.Seeds(t, testscale.Between(60, 5000), func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := newSlots(1 + rnd.IntN(40))
		s.ramp.allowed = 1 + rnd.IntN(s.most)
		c := &competition{slots: s, lease: 5 * time.Millisecond, hold: aSecond, got: map[string]int{}}
		if rnd.IntN(2) == 0 {
			c.hold = func() time.Duration { return time.Second/2 + time.Duration(rnd.Int64N(int64(time.Second))) }
		}
		weights := map[string]int{}
		for k := range 2 + rnd.IntN(5) {
			weights[fmt.Sprint("topic-", k)] = 1 + rnd.IntN(9)
		}
		const seconds = 300
		c.run(seconds*time.Second, weights)
		if c.most > s.ramp.allowed {
			t.Errorf("%d attempts ran, %d were allowed", c.most, s.ramp.allowed)
		}
		for name, part := range parts(s.ramp.allowed, s.share, weights) {
			want := part * seconds
			if got := float64(c.got[name]); got < want*0.75-15 || got > want*1.35+15 {
				t.Errorf("%s, of %v, got %.0f of %d slots, %d of them allowed; want %.0f", name, weights, got, s.most*seconds, s.ramp.allowed, want)
			}
		}
	})
}

// parts spreads slots over topics by weight, to each as many as it may have.
func parts(slots, share int, weights map[string]int) map[string]float64 {
	out, rest, left := map[string]float64{}, maps.Clone(weights), float64(slots)
	for len(rest) > 0 {
		sum, capped := 0, false
		for _, weight := range rest {
			sum += weight
		}
		level := left / float64(sum)
		for name, weight := range rest {
			if level*float64(weight) > float64(share) {
				out[name], capped = float64(share), true
				left -= float64(share)
				delete(rest, name)
			}
		}
		if capped {
			continue
		}
		for name, weight := range rest {
			out[name] = level * float64(weight)
		}
		return out
	}
	return out
}

// A topic that comes late does not make up for the time before, nor is it made to
// wait for it.
func TestLateTopicHasItsPartFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		compete(s, 1000*time.Second, map[string]int{"early": 1})
		got := compete(s, 100*time.Second, map[string]int{"early": 1, "late": 1})
		if got["late"] < 45 || got["late"] > 55 {
			t.Errorf("%v", got)
		}
		old := newTurn(1)
		for range 20 {
			s.give(taken(t, s, old))
		}
		fresh := newTurn(1)
		if taken(t, s, fresh); fresh.had < old.had-1 {
			t.Errorf("a fresh topic has %v, one that was there %v", fresh.had, old.had)
		}
	})
}

// taken is a batch that has a slot, which is free.
func taken(t *testing.T, s *slots, of *turn) *batch {
	t.Helper()
	b := s.queue(t.Context(), of, true, false)
	if b == nil || !s.take(t.Context(), b) {
		t.Fatal("there is no slot")
	}
	return b
}

// Who had all that it may have has saved up nothing either: else a topic that comes
// then would be let ahead of the others for as long.
func TestWhoHasItsShareSavesUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(4)
		weights := map[string]int{"heavy": 1000, "other": 1, "another": 1}
		compete(s, 1000*time.Second, weights)
		if s.passed < 400 {
			t.Fatalf("those with little weight had %v", s.passed)
		}
		fresh := newTurn(1)
		if s.give(taken(t, s, fresh)); fresh.had < s.passed-1 {
			t.Errorf("a fresh topic has %v, those that were there %v", fresh.had, s.passed)
		}
	})
}

// Who gives up waiting leaves no slot behind.
func TestSlotIsNotLostWithItsWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		has := taken(t, s, newTurn(1))
		ctx, stop := context.WithCancel(t.Context())
		waits := newTurn(1)
		b := s.queue(ctx, waits, true, true)
		done := make(chan bool)
		go func() { done <- s.take(ctx, b) }()
		go func() { done <- s.queue(ctx, waits, true, false) != nil }()
		synctest.Wait()
		stop()
		for range 2 {
			if <-done {
				t.Error("a slot was given that is not there")
			}
		}
		s.give(has)
		if s.running != 0 || len(s.waiting) != 0 || len(s.queuing) != 0 || s.weights != 0 {
			t.Error("somebody waits on")
		}
		taken(t, s, newTurn(1))
	})
}

// Who gives up waiting just when it is given a slot has it, and gives it back.
func TestSlotThatIsGivenAtTheEndIsNotLost(t *testing.T) {
	s := newSlots(1)
	b := s.queue(t.Context(), newTurn(1), true, true) // there is a slot
	if b == nil || !s.leave(b) {
		t.Fatal("it has a slot, and is told that it has none")
	}
	s.give(b)
	if s.running != 0 || s.ramp.running != 0 {
		t.Errorf("%d slots are taken, %d of the ramp", s.running, s.ramp.running)
	}
}
