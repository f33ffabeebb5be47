package rocketmq

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// questionOf is the question for a half message that the broker has moved to offset.
func questionOf(half int, offset int64) broker.HalfCheck {
	return broker.HalfCheck{
		Half:  broker.Half{Transaction: fmt.Sprint("order-", half), Number: 1},
		Place: message.HalfPlace{Group: "g", MessageID: fmt.Sprint("M", half), LogOffset: offset},
	}
}

// However often a broker asks for a half message before it is answered, it is answered
// once, in its turn, with the place where the half message is now.
func TestAHalfMessageHasOnePlaceAmongTheQuestions(t *testing.T) {
	q := newQuestions(3)
	for round := range int64(100) {
		for half := range 3 {
			if dropped := q.add(questionOf(half, round)); dropped > 0 {
				t.Fatalf("round %d: the question for half message %d is dropped", round, half)
			}
		}
	}
	for half := range 3 {
		c, ok := q.take()
		if !ok || c != questionOf(half, 99) {
			t.Errorf("question %d is %+v, %t", half, c, ok)
		}
		q.done(c)
	}
	if c, ok := q.take(); ok {
		t.Errorf("there is another question: %+v", c)
	}
}

// Of a transaction one question is answered at a time, also of a half message that was
// replaced; others are answered meanwhile, in their turn.
func TestATransactionIsAnsweredOnceAtATime(t *testing.T) {
	q := newQuestions(10)
	first, replaced, other := questionOf(1, 1), questionOf(1, 2), questionOf(2, 3)
	replaced.Number = 2
	again := first
	again.Place.LogOffset = 4
	q.add(first)
	got, _ := q.take()
	for _, c := range []broker.HalfCheck{again, replaced, other} {
		q.add(c)
	}
	if c, ok := q.take(); !ok || c != other {
		t.Errorf("the next is %+v, %t; want the one of another transaction", c, ok)
	}
	if c, ok := q.take(); ok {
		t.Errorf("%+v is answered beside the one before", c)
	}
	q.done(got)
	for _, want := range []broker.HalfCheck{again, replaced} {
		c, ok := q.take()
		if !ok || c != want {
			t.Errorf("the next is %+v, %t; want %+v", c, ok, want)
		}
		q.done(c)
	}
}

// Answers wait for each other's disk: so many are under way, and no more.
func TestAnswersAreUnderWayTogether(t *testing.T) {
	l := newLink(&Halves{}, "b", "t")
	for half := range 3 * answersAtOnce {
		l.asked.add(questionOf(half, 1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	began, goOn := make(chan struct{}), make(chan struct{})
	var now, most atomic.Int64
	served := make(chan struct{})
	go func() {
		defer close(served)
		l.serve(ctx, func(context.Context, broker.HalfCheck) {
			most.Store(max(most.Load(), now.Add(1)))
			began <- struct{}{}
			<-goOn
			now.Add(-1)
		})
	}()
	for n := range answersAtOnce {
		select {
		case <-began:
		case <-time.After(time.Minute):
			t.Fatalf("%d answers are under way, want %d", n, answersAtOnce)
		}
	}
	close(goOn)
	for range 2 * answersAtOnce {
		<-began
	}
	cancel()
	<-served
	if most.Load() > answersAtOnce {
		t.Errorf("%d answers were under way", most.Load())
	}
}

// Half messages of which nothing else differs are different ones: of other numbers, and
// of nobody here.
func TestQuestionsOfDifferentHalfMessages(t *testing.T) {
	q := newQuestions(10)
	first := questionOf(1, 1)
	second, stranger, foreign := first, first, first
	second.Number = 2
	stranger.Place.MessageID = "another"
	foreign.Place.Group = "another"
	for _, c := range []broker.HalfCheck{first, second, stranger, foreign} {
		q.add(c)
	}
	if len(q.turns) != 4 || len(q.waiting) != 4 {
		t.Errorf("%d wait, in %d turns", len(q.waiting), len(q.turns))
	}
}

// A broker asks for far more half messages than have a place, in the same order each
// time, and few of them are answered between two rounds: each has its turn.
func TestEachHalfMessageHasItsTurn(t *testing.T) {
	const most, halves = 64, 8 * 64
	for _, answers := range []int{most / 4, 2 * most} { // in a round
		q := newQuestions(most)
		missing := map[string]bool{}
		for half := range halves {
			missing[questionOf(half, 0).Transaction] = true
		}
		rounds := 0
		for ; len(missing) > 0 && rounds < 20_000; rounds++ {
			for half := range halves {
				q.add(questionOf(half, int64(rounds)))
				if len(q.waiting) > most || len(q.turns) != len(q.waiting) {
					t.Fatalf("%d wait, in %d turns", len(q.waiting), len(q.turns))
				}
			}
			for range answers {
				c, _ := q.take()
				q.done(c)
				delete(missing, c.Transaction)
			}
		}
		t.Logf("%d answers a round: %d rounds", answers, rounds)
		if len(missing) > 0 {
			t.Errorf("%d answers a round: %d half messages have no turn in %d rounds", answers, len(missing), rounds)
		}
	}
}

// What is dropped is counted, be it the new question or one that waited.
func TestDroppedQuestionsAreCounted(t *testing.T) {
	q := newQuestions(8)
	dropped := 0
	for half := range 100 {
		dropped += q.add(questionOf(half, 1))
	}
	if len(q.waiting) == 0 || dropped+len(q.waiting) != 100 {
		t.Errorf("of 100 questions %d are dropped, %d wait", dropped, len(q.waiting))
	}
}
