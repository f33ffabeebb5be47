package ackgate

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/push"
)

// What is wrong with MQ-Lease is said as that: the message is leased.
func TestLeasesThatAreNotAsAskedAreSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		answer push.Answer
		want   string
	}{
		"unread":   {push.Answer{Disposition: push.Leased, Status: 202, Err: errFake}, "its MQ-Lease cannot be read"},
		"too long": {accepted(11 * time.Minute), "longer lease than max_hold"},
		"fitting":  {accepted(10 * time.Minute), ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers = []push.Answer{tt.answer}
				s.start(options())
				var log bytes.Buffer
				s.gate.log = slog.New(slog.NewTextHandler(&log, nil))
				s.run(time.Minute, delivery("a"))
				said := log.String()
				if strings.Contains(said, "did not take") || !strings.Contains(said, tt.want) || tt.want == "" && said != "" {
					t.Errorf("said %q", said)
				}
				if lease := s.calls[0].MaxLease; lease != 10*time.Minute {
					t.Errorf("the call tells of leases of %v at most", lease)
				}
			})
		})
	}
}
