package ackgate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// Why a message dies, and after how many attempts, is told before the broker is
// asked: it takes no cause along.
func TestCauseOfADeadLetterIsTold(t *testing.T) {
	failed := push.Answer{Status: 500, Err: errFake}
	for name, tc := range map[string]struct {
		answers []push.Answer
		most    int
		store   bool
		says    string
	}{
		"rejected":                     {[]push.Answer{rejected}, 16, true, "a rejected: 422 1"},
		"rejected at the second":       {[]push.Answer{failed, rejected}, 16, true, "a rejected: 422 2"},
		"out of attempts":              {times(2, failed), 2, true, "a out of attempts: 500 2"},
		"out of attempts, no store":    {times(3, failed), 3, false, "a out of attempts: 500 3"},
		"connections that break":       {times(2, push.Answer{Err: errFake}), 2, true, "a out of attempts: broken 2"},
		"rejected, and without a mark": {[]push.Answer{rejected}, 16, false, "a rejected: 422 1"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers, s.noStore = tc.answers, !tc.store
				o := options()
				o.MaxAttempts = tc.most
				var told []string
				o.Died = func(d *message.Delivery, cause string, attempts int) {
					if s.happened("dead a") {
						t.Error("told after the broker")
					}
					told = append(told, fmt.Sprint(d.Identity, " ", cause, " ", attempts))
				}
				s.start(o).run(time.Hour, delivery("a"))
				if !slices.Equal(told, []string{tc.says}) || !s.happened("dead a") {
					t.Errorf("told %q of %v", told, s.events)
				}
			})
		})
	}
}

// A dead letter that is redriven is a first attempt again, whatever it had cost
// before: the store's count is forgotten, and so are redeliveries that were free.
func TestRedrivenMessageIsAFirstAttempt(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = append(times(2, push.Answer{Status: 500, Err: errFake}), rejected)
		s.start(options())
		s.gate.free.sent("a", 0, false) // as one that came before
		first := delivery("a")
		first.Attempt = 2
		s.run(time.Hour, first)
		if !s.happened("dead a") || s.gate.free.of("a") != 0 {
			t.Errorf("%d redeliveries are still free: %v", s.gate.free.of("a"), s.events)
		}
		s.run(time.Hour, delivery("a"))
		s.wantAttempts(1, 2, 3, 1)
		if !s.happened("200 a") {
			t.Errorf("%v", s.events)
		}
	})
}
