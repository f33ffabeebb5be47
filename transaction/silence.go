package transaction

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A broker that has asked for a half message as often as it does drops it without a
// word: also while nobody was here to be asked. So whoever has not been asked for one
// looks whether it is there still.

const (
	// silentFor is how long a broker has not asked for a half message of which it is
	// not believed any more that it will: it does each 30 s (transactionCheckInterval).
	silentFor = 2 * time.Minute
	lookEvery = time.Minute
	// dropTime is more than a broker takes to ask for one 15 times (transactionCheckMax).
	dropTime = 10 * time.Minute
	lookRate = 200 // half messages a second, at most
	// droppedFor is how long it is told that one was dropped.
	droppedFor = 10 * time.Minute
	// renewedFor is how long it is told that one was renewed, and counted.
	renewedFor = time.Hour
)

// silence knows when brokers asked last for the half messages that are open.
type silence struct {
	mu      sync.Mutex
	heard   map[string]time.Time // by transaction; zero: not in this process
	dropped time.Time            // when one was found last
	renewed lately
}

// lately counts what was within renewedFor, to the minute.
type lately [renewedFor / time.Minute]struct {
	minute int64
	n      int
}

func (x *lately) add(at time.Time) {
	minute := at.Unix() / 60
	m := &x[minute%int64(len(x))]
	if m.minute != minute {
		m.minute, m.n = minute, 0
	}
	m.n++
}

func (x *lately) count(now time.Time) (n int) {
	oldest := now.Unix()/60 - int64(len(x))
	for _, m := range x {
		if m.minute > oldest {
			n += m.n
		}
	}
	return n
}

// renew notes that a half message has taken the place of one that waits long for its
// decision.
func (s *silence) renew(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed.add(at)
}

func (s *silence) renewedLately(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed.count(now)
}

func (s *silence) hear(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.heard[id]; !known || at.After(before) {
		s.heard[id] = at
	}
}

func (s *silence) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.heard, id)
}

// since names those of which nothing was heard since then.
func (s *silence) since(then time.Time) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.heard {
		if at.Before(then) {
			ids = append(ids, id)
		}
	}
	return ids
}

// of is how long nothing was heard of one, in a process that began then.
func (s *silence) of(id string, began time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if heard := s.heard[id]; heard.After(began) {
		began = heard
	}
	return time.Since(began)
}

func (s *silence) drop(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = at
}

func (s *silence) droppedSince(then time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped.After(then)
}

// watch has half messages replaced that their broker has dropped, until ctx ends.
func (k *Keeper) watch(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	pace := rate.NewLimiter(lookRate, 1)
	for {
		for _, id := range k.silence.since(time.Now().Add(-silentFor)) {
			if pace.Wait(ctx) != nil {
				return
			}
			if err := k.look(ctx, id, &running); err != nil && !over(ctx, err) {
				k.log.Warn("it is not known whether a broker has dropped a half message; it is looked for again", "transaction", id, "error", err)
			}
		}
		if backoff.Sleep(ctx, lookEvery) != nil {
			return
		}
	}
}

// look replaces the half message that stands if its broker has dropped it.
func (k *Keeper) look(ctx context.Context, id string, running *sync.WaitGroup) error {
	t, err := k.spool.Transaction(ctx, id)
	if errors.Is(err, spool.ErrNoTransaction) || err == nil && (t.State.Decided() || t.Half == nil) {
		k.silence.forget(id)
		return nil
	}
	if err != nil {
		return err
	}
	gone, err := k.halves.Dropped(ctx, t.Half.Place, broker.Half{Transaction: id, Number: t.Half.Number}, t.PreparedAt)
	if errors.Is(err, broker.ErrMayNotLook) && k.silence.of(id, k.began) > dropTime {
		gone, err = true, nil
	}
	if err != nil {
		return err
	}
	if !gone {
		return k.lookAtPlace(ctx, &t, running)
	}
	k.silence.drop(time.Now())
	k.log.Error("a broker does not ask for a half message any more, for it has as often as it does: a new one takes its place",
		"transaction", id, "broker", t.Half.Place.Broker, "message", t.Half.Place.MessageID, "prepared", t.PreparedAt)
	k.aside(k.renews, &t, running, func() {
		if k.renew(ctx, &t, t.Half.Place, "it was dropped") {
			k.metrics.dropped.Inc()
		}
	})
	return nil
}

// lookAtPlace replaces a half message that its broker has lost, with the end of its log.
// One that the broker has moved meanwhile lies where it was, too.
func (k *Keeper) lookAtPlace(ctx context.Context, t *spool.Transaction, running *sync.WaitGroup) error {
	there, err := k.halves.There(ctx, t.Half.Place)
	if errors.Is(err, broker.ErrMayNotLook) {
		return nil // the index did not tell either
	}
	if err != nil || there == (broker.Half{Transaction: t.ID, Number: t.Half.Number}) {
		return err
	}
	k.silence.drop(time.Now())
	k.aside(k.renews, t, running, func() {
		if k.renew(ctx, t, message.HalfPlace{}, "it was lost") {
			k.lose(t.ID, t.Half.Place)
		}
	})
	return nil
}

// Dropped reports whether a broker was found lately to have dropped a half message of
// which nothing is decided.
func (k *Keeper) Dropped() bool { return k.silence.droppedSince(time.Now().Add(-droppedFor)) }

// Renewed is how many half messages were replaced in the last hour, to the minute, because
// they wait longer for their decision than their broker asks for them: none that it had
// dropped, or lost.
func (k *Keeper) Renewed() int { return k.silence.renewedLately(time.Now()) }

// expect has brokers ask here for the half messages that a former process prepared.
// Where one was sent, and its broker's answer not noted, each that has the topic may.
func (k *Keeper) expect(ctx context.Context) {
	for cursor := ""; ; {
		page, err := k.spool.Transactions(ctx, nil, cursor, 1000)
		for i := 0; i < len(page.Items) && err == nil; i++ {
			err = k.expectOne(ctx, &page.Items[i])
		}
		if err != nil {
			if !over(ctx, err) {
				k.log.Error("not all transactions were read: brokers may not be able to ask for those of before", "error", err)
			}
			return
		}
		if cursor = page.Next; cursor == "" {
			return
		}
	}
}

func (k *Keeper) expectOne(ctx context.Context, t *spool.Transaction) error {
	if t.Half == nil {
		return nil
	}
	if t.Half.Place.Known() && !t.Half.Ended {
		k.halves.Expect(t.Half.Place)
		if !t.State.Decided() {
			k.silence.hear(t.ID, time.Time{})
		}
	}
	if t.Half.Number == t.Half.Issued {
		return nil
	}
	place := t.Half.Place
	if place.Broker = ""; place.Topic == "" {
		r, err := k.spool.Receipt(ctx, t.Messages[0])
		if err != nil && !errors.Is(err, spool.ErrNotFound) {
			return fmt.Errorf("read receipt %s: %w", t.Messages[0], err)
		}
		place.Topic = r.Topic
	}
	if place.Topic != "" {
		k.halves.Expect(place)
	}
	return nil
}
