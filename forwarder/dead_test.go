package forwarder_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
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
				log, registry := &strings.Builder{}, prometheus.NewRegistry()
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

func sorted(bodies []string) string { return fmt.Sprint(slices.Sorted(slices.Values(bodies))) }

// openWith makes an empty spool.
func openWith(t *testing.T, p *producer, opts spool.Options) *rig {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(t.TempDir(), "db")})
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
