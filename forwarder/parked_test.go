package forwarder_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
)

// A topic that is not there, or not permitted, is parked: it is said, and nothing
// of it dies. It is no failing broker. When an operator has acted it goes on.
func TestParkedTopicIsSaid(t *testing.T) {
	for _, status := range []string{"TOPIC_NOT_EXIST", "NO_PERMISSION"} {
		t.Run(status, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refused atomic.Bool
				refused.Store(true)
				var away atomic.Bool
				p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
					if away.Load() {
						return refuse(message.OutcomeRetryable, "CONNECT")
					}
					if msgs[0].Topic == "new" && refused.Load() {
						return &broker.SendError{Outcome: message.OutcomeRetryable, Status: status, Parked: true}
					}
					return nil
				}}
				r, log, registry := open(t, p), &strings.Builder{}, prometheus.NewRegistry()
				f := forwarder.New(forwarder.Options{}, r.Spool, p, slog.New(slog.NewTextHandler(log, nil)))
				f.Register(registry)
				r.run(f)
				r.accept(draft("new", "1", ""), draft("new", "2", "k"), draft("there", "3", ""))
				time.Sleep(time.Hour)
				if got := f.Parked(); len(got) != 1 || got["new"] != status || f.Failing() != 0 {
					t.Errorf("parked %v, %d topics are failing", got, f.Failing())
				}
				if parked, failing := f.HeldUp("new"); parked != status || failing != "" {
					t.Errorf("parked %q, failing %q", parked, failing)
				}
				if n := r.Ledger().Topics["new"].InSpool; n.Held() != 2 || n.Dead != 0 {
					t.Errorf("%+v", n)
				}
				want := `
# HELP remora_topic_parked 1 for each topic that the broker refuses for itself, with its status, while there is something to send: create it, or give permission.
# TYPE remora_topic_parked gauge
remora_topic_parked{status="` + status + `",topic="new"} 1
`
				if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "remora_topic_parked"); err != nil {
					t.Error(err)
				}
				if n := strings.Count(log.String(), "the topic is parked"); n != 1 {
					t.Errorf("it is said %d times", n)
				}
				refused.Store(false)
				time.Sleep(time.Minute)
				if got := f.Parked(); len(got) != 0 || r.Ledger().Total.InSpool.Held() != 0 {
					t.Errorf("after it was put right: parked %v", got)
				}
				away.Store(true)
				r.accept(draft("new", "4", ""))
				time.Sleep(time.Minute)
				if got := f.Parked(); len(got) != 0 || f.Failing() != 1 {
					t.Errorf("in an outage after that: parked %v, %d topics are failing", got, f.Failing())
				}
			})
		})
	}
}
