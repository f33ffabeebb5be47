package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Burying is a Backend whose dead letters can be read.
type Burying interface {
	Backend
	// NewDeadLetters makes what reads those of a group; the suite closes it.
	NewDeadLetters(t testing.TB, group string) broker.DeadLetters
}

func deadLetterCases(b Burying) []testCase {
	with := func(run func(*fixture, broker.DeadLetters)) func(*fixture) {
		return func(f *fixture) {
			d := b.NewDeadLetters(f.t, f.group)
			f.t.Cleanup(func() {
				if err := d.Close(); err != nil {
					f.t.Errorf("close dead letters: %v", err)
				}
			})
			run(f, d)
		}
	}
	return []testCase{
		{"a group without dead letters has no queue of them", 1, with(noDeadLetters)},
		{"dead letters are read as they were sent", 1, with(readDead)},
		{"a redriven message comes again to its group alone, as a first attempt", 1, with(redriven)},
		{"a redrive under a done context is an error", 1, with(redriveCancelled)},
	}
}

func noDeadLetters(f *fixture, d broker.DeadLetters) {
	queues, err := d.Queues(f.t.Context())
	if err != nil || len(queues) != 0 {
		f.t.Errorf("queues %v, error %v", queues, err)
	}
}

// bury makes dead letters of what is sent, and returns them once they can be read.
func (f *fixture) bury(d broker.DeadLetters, msgs ...*message.Message) []broker.DeadLetter {
	f.t.Helper()
	f.send(msgs...)
	c := f.consume(f.subscription())
	for range msgs {
		c.sendBack(c.next(), broker.SendBack{DeadLetter: true})
	}
	c.stop()
	return f.readDead(d, len(msgs))
}

// readDead waits for n dead letters, from the first on: a name server may learn of
// their topic late.
func (f *fixture) readDead(d broker.DeadLetters, n int) (all []broker.DeadLetter) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for {
		all, err := readAll(ctx, d)
		if err == nil && len(all) >= n {
			return all
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			f.t.Fatalf("%d dead letters were read, want %d: %v", len(all), n, err)
		}
	}
}

// readAll reads all, two at a time.
func readAll(ctx context.Context, d broker.DeadLetters) (all []broker.DeadLetter, err error) {
	queues, err := d.Queues(ctx)
	for _, q := range queues {
		for from := q.First; err == nil; {
			var some []broker.DeadLetter
			if some, from, err = d.Read(ctx, q.Name, from, 2); len(some) == 0 {
				break
			}
			if len(some) > 2 || from != some[len(some)-1].Offset+1 {
				err = errors.Join(err, errors.New("a page is too long, or ends elsewhere"))
			}
			all = append(all, some...)
		}
	}
	return all, err
}

func readDead(f *fixture, d broker.DeadLetters) {
	began := time.Now().Add(-time.Minute) // clocks of two processes
	full := fullMessage(f.topic)
	f.bury(d, full)
	f.bury(d, newMessage(f.topic, "1"), newMessage(f.topic, "2"), newMessage(f.topic, "3"))
	all := f.readDead(d, 4)
	var others []string
	for i := range all[1:] {
		others = append(others, string(all[1+i].Body))
	}
	if slices.Sort(others); !slices.Equal(others, []string{"1", "2", "3"}) {
		f.t.Fatalf("%d dead letters, the later ones with bodies %v", len(all), others)
	}
	one := &all[0]
	checkFull(f.t, &one.Delivery, full)
	if one.Identity != full.ID.String() || one.Attempt != 1 || one.Damage != "" || one.DiedAt.Before(began) || one.Group != f.group {
		f.t.Errorf("identity %s, attempt %d, damage %q, died at %v", one.Identity, one.Attempt, one.Damage, one.DiedAt)
	}
	queues, err := d.Queues(f.t.Context())
	if err != nil || len(queues) != 1 || queues[0].Next-queues[0].First != 4 || queues[0].Name != one.Queue || queues[0].Passed != 0 {
		f.t.Errorf("queues %+v, error %v", queues, err)
	}
}

func redriven(f *fixture, d broker.DeadLetters) {
	full := fullMessage(f.topic)
	dead := f.bury(d, full)
	others := f.subscription()
	others.Group = name(f.t, "group")
	other := f.consume(others)
	other.take(1)
	c := f.consume(f.subscription())
	for again := range 2 {
		if err := d.Redrive(f.t.Context(), &dead[again]); err != nil {
			f.t.Fatalf("redrive: %v", err)
		}
		a := c.next()
		checkFull(f.t, a.Delivery, full)
		if a.Attempt != 1 || a.Identity != full.ID.String() || a.Topic != f.topic {
			f.t.Errorf("attempt %d of %s of topic %s, want 1 of %s", a.Attempt, a.Identity, a.Topic, full.ID)
		}
		if again == 1 {
			a.ack()
			break
		}
		c.sendBack(a, broker.SendBack{Delay: time.Second})
		if a = c.next(); a.Attempt != 2 {
			f.t.Errorf("attempt %d after a send-back, want 2", a.Attempt)
		}
		c.sendBack(a, broker.SendBack{DeadLetter: true}) // for the second round
		if dead = f.readDead(d, 2); dead[1].Attempt != 2 || dead[1].Identity != full.ID.String() {
			f.t.Errorf("died again after %d attempts as %s", dead[1].Attempt, dead[1].Identity)
		}
	}
	c.quiet(2 * time.Second)
	other.quiet(time.Second)
}

func redriveCancelled(f *fixture, d broker.DeadLetters) {
	dead := f.bury(d, newMessage(f.topic, "1"))
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	if err := d.Redrive(ctx, &dead[0]); err == nil {
		f.t.Error("redrive under a done context: no error")
	}
	f.consume(f.subscription()).quiet(2 * time.Second)
}
