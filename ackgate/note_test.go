package ackgate

import (
	"context"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
	"github.com/remora-mq/remora/seen"
)

// fakeNotes tell the scene of what they are told.
type fakeNotes struct {
	scene *scene
	err   error // of Ended
}

func (n *fakeNotes) Handled(_ message.SpoolID, number uint64) { n.note(seen.Handled, number) }

func (n *fakeNotes) Ended(_ context.Context, _ message.SpoolID, number uint64, how seen.How) error {
	n.note(how, number)
	return n.err
}

func (n *fakeNotes) note(how seen.How, number uint64) {
	n.scene.mu.Lock()
	defer n.scene.mu.Unlock()
	n.scene.note("%s %d", how, number)
}

func noting(s *scene, err error) Options {
	o := options()
	o.Notes = &fakeNotes{s, err}
	return o
}

// numbered is a delivery of a message that a sidecar numbered.
func numbered(id string, n uint64) *message.Delivery {
	d := delivery(id)
	d.ID, d.TopicSeq = message.NewID(message.SpoolID{1}, 1, n, time.Now()), n
	return d
}

// TestHandledMessagesAreNoted: before the mark and the ack, however the application
// said that it is done, and once.
func TestHandledMessagesAreNoted(t *testing.T) {
	ways := map[string]struct {
		answer push.Answer
		want   []string
	}{
		"by its 200":           {push.Answer{Disposition: push.Done, Status: 200}, []string{"call a", "200 a", "handled 7", "done id:a", "ack a"}},
		"by the delivery's ID": {accepted(time.Minute), []string{"call a", "handled 7", "done id:a", "ack by ID", "ack a"}},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers = []push.Answer{way.answer}
				if way.answer.Disposition == push.Leased {
					s.onCall(func(id string, _ int) { after(time.Second, func() { s.ack(id) }) })
				}
				s.start(noting(s, nil)).run(time.Hour, numbered("a", 7))
				s.wantAnyOrder(way.want...)
				if got := s.before("handled 7", "done id:a"); !got {
					t.Errorf("noted behind the mark: %v", s.events)
				}
			})
		})
	}
}

// before reports whether one event happened before another.
func (s *scene) before(first, then string) bool {
	for _, e := range s.events {
		switch e {
		case first:
			return true
		case then:
			return false
		}
	}
	return false
}

// TestEndsAreNoted: a repeat and a dead letter, before the broker is told; what is
// not done is not, and what cannot be noted is acked all the same.
func TestEndsAreNoted(t *testing.T) {
	for name, err := range map[string]error{"noted": nil, "not noted": errFake} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.start(noting(s, err)).run(time.Minute, numbered("a", 7))
				s.run(time.Minute, numbered("a", 7))
				s.answers = []push.Answer{rejected}
				s.run(time.Minute, numbered("b", 8))
				s.wantEvents("call a", "200 a", "handled 7", "done id:a", "ack a", "repeat id:a", "repeated 7", "ack a",
					"call b", "dead b", "dead 8", "ack b")
			})
		})
	}
}

// TestOthersAreNotNoted: what is sent back, and what no sidecar numbered.
func TestOthersAreNotNoted(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(12, failed)
		s.start(noting(s, nil)).run(time.Hour, numbered("a", 7))
		s.answers = nil
		s.run(time.Minute, delivery("b"))
		if n := s.count("handled 7") + s.count("dead 7") + s.count("handled 0"); n != 0 || s.count("back a") != 1 || s.count("ack b") != 1 {
			t.Errorf("it went %v", s.events)
		}
	})
}

// TestUnmarkedIsNoted: a 200 whose mark fails is noted: it is acked.
func TestUnmarkedIsNoted(t *testing.T) {
	bubble(t, func(s *scene) {
		s.doneFail = 1000
		s.start(noting(s, nil)).run(time.Hour, numbered("a", 7))
		s.wantEvents("call a", "200 a", "handled 7", "ack a")
	})
}
