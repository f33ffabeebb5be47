package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A batch with a message that is refused is sent in halves: what is behind it,
// of its ordering key, waits for it or goes on, as configured, and it is said.
func TestDeadLetterInAnOrderedBatch(t *testing.T) {
	for block, want := range map[bool]string{true: "[0 b]", false: "[0 2 3 b]"} {
		t.Run(fmt.Sprintf("block %t", block), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
					for _, m := range msgs {
						if m.Tag == "poison" {
							return refuse(message.OutcomePermanent, "MESSAGE_ILLEGAL")
						}
					}
					return nil
				}}
				r := openWith(t, p, spool.Options{BlockOnDead: block})
				poison := draft("orders", "1", "k")
				poison.Tag = "poison"
				ids := r.accept(draft("orders", "0", "k"), poison, draft("orders", "2", "k"), draft("orders", "3", "k"), draft("orders", "b", "other"))
				log, registry := &lines{}, prometheus.NewRegistry()
				f := forwarder.New(forwarder.Options{BlockOnDead: block}, r.Spool, p, slog.New(slog.NewTextHandler(log, nil)))
				f.Register(registry)
				r.run(f)
				time.Sleep(time.Hour)
				if got := sorted(r.bodies()); got != want {
					t.Errorf("the broker has %s, want %s", got, want)
				}
				skipped := map[bool]int{false: 1}[block]
				metric := fmt.Sprintf("# HELP remora_ordering_skipped_total Dead letters that later messages of their ordering key went past, with forwarder.ordering.on_dead: skip.\n# TYPE remora_ordering_skipped_total counter\nremora_ordering_skipped_total %d\n", skipped)
				if err := testutil.GatherAndCompare(registry, strings.NewReader(metric), "remora_ordering_skipped_total"); err != nil {
					t.Error(err)
				}
				if says := map[bool]string{true: "wait until this one is redriven", false: "later messages go on"}[block]; !strings.Contains(log.String(), says) {
					t.Errorf("the log does not say %q: %s", says, log)
				}
				if _, _, err := r.Discard(t.Context(), ids[1:2]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if got := sorted(r.bodies()); got != "[0 2 3 b]" {
					t.Errorf("after it was discarded the broker has %s", got)
				}
			})
		})
	}
}

// forgetfulSpool does not record some dead letters, and says so.
type forgetfulSpool struct {
	*spool.Spool

	left  int64
	tried atomic.Int64
}

func (s *forgetfulSpool) Bury(ctx context.Context, l *spool.Lease, reason, cause string) error {
	if s.tried.Add(1) <= s.left {
		return errors.New("no room")
	}
	return s.Spool.Bury(ctx, l, reason, cause)
}

// lines are a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A dead letter that is not recorded is none: the message is held, and tried again when
// its lease has lapsed; what is behind it, of its ordering key, waits until it is one.
func TestDeadLetterThatIsNotRecordedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
			if slices.ContainsFunc(msgs, func(m *message.Message) bool { return string(m.Body) == "bad" }) {
				return refuse(message.OutcomePermanent, "MESSAGE_ILLEGAL")
			}
			return nil
		}}
		r := openWith(t, p, spool.Options{LeaseFor: time.Minute})
		ids := r.accept(draft("orders", "bad", "k"), draft("orders", "behind", "k"))
		log, registry := &lines{}, prometheus.NewRegistry()
		s := &forgetfulSpool{Spool: r.Spool, left: 2}
		f := forwarder.New(forwarder.Options{}, s, p, slog.New(slog.NewTextHandler(log, nil)))
		f.Register(registry)
		r.run(f)
		dead := func(state message.State, tried int64, letters int, stored string) {
			t.Helper()
			synctest.Wait()
			got, err := r.Receipt(t.Context(), ids[0])
			if err != nil || got.State != state || s.tried.Load() != tried || fmt.Sprint(r.bodies()) != stored {
				t.Errorf("it is %v, %v; %d records were tried, and the broker has %v", got.State, err, s.tried.Load(), r.bodies())
			}
			if n, err := testutil.GatherAndCount(registry, "remora_dead_letters_total"); n != 1+letters { // what expires is always told
				t.Errorf("dead letters of %d reasons are counted, %v", n, err)
			}
		}
		time.Sleep(time.Second)
		dead(message.StateInFlight, 1, 0, "[]")
		if !strings.Contains(log.String(), "a dead letter cannot be recorded; the message is kept") || strings.Contains(log.String(), "it is a dead letter") {
			t.Errorf("the log says %s", log)
		}
		time.Sleep(time.Minute + time.Second)
		dead(message.StateInFlight, 2, 0, "[]")
		time.Sleep(time.Hour)
		dead(message.StateDead, 3, 1, "[behind]")
	})
}

func sorted(bodies []string) string { return fmt.Sprint(slices.Sorted(slices.Values(bodies))) }

// openWith makes an empty spool.
func openWith(t *testing.T, p *producer, opts spool.Options) *rig {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(t.TempDir(), "db"), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	opts.Dir = t.TempDir()
	s, err := spool.Open(t.Context(), db, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, Spool: s, producer: p}
}
