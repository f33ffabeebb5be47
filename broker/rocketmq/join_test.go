package rocketmq

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
)

// until is a log that says when it has so many lines of a text.
type until struct {
	bytes.Buffer

	text  string
	lines int
	full  func()
}

func (u *until) Write(b []byte) (int, error) { // by a handler that holds a lock
	n, err := u.Buffer.Write(b)
	if strings.Count(u.String(), u.text) == u.lines {
		u.full()
	}
	return n, err
}

// An outage of the name servers is told ever more rarely: the fifth line is of the
// sixteenth try.
func TestAnOutageIsToldEverMoreRarely(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	said := &until{text: "cannot consume yet", lines: 5, full: cancel}
	told := 0
	c, err := NewConsumer(ConsumerOptions{NameServers: []string{"127.0.0.1:1"}, Instance: "i"},
		broker.Subscription{Name: "s", Topic: "t", Group: "g", Concurrency: 1, Joins: func(err error) {
			if told++; err == nil {
				t.Error("it is told that the group was joined")
			}
		}}, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.awaitRoute = backoff.Policy{Initial: time.Microsecond, Max: time.Microsecond}
	if err := c.Consume(ctx, nil); err != nil {
		t.Errorf("ended with %v", err)
	}
	if told < 16 {
		t.Errorf("of %d failures is told why", told)
	}
	if log := said.String(); strings.Count(log, said.text) != 5 || !strings.Contains(log, "failures=16 ") {
		t.Errorf("of 16 failures is said:\n%s", log)
	}
}
