package spool_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A batch of as many messages as are told fits into a commit, whatever they carry;
// one of many more, that carry the most, is refused as a whole.
func TestMostMessagesFitWhateverTheyCarry(t *testing.T) {
	const payload = 256 // the largest that stays in its record
	shapes := map[string]func(m *message.Message){
		"keys":       func(m *message.Message) { m.Body, m.Keys = nil, strings.Split(strings.Repeat("k", payload/2), "") },
		"properties": properties(payload / 4),
		"long keys": func(m *message.Message) {
			m.Body, m.Keys = nil, []string{strings.Repeat("k", payload-1)}
		},
		"body":  func(m *message.Message) { m.Body = []byte(strings.Repeat("x", payload)) },
		"apart": func(m *message.Message) { m.Body = []byte(strings.Repeat("x", payload+1)) },
	}
	for _, memTable := range []int64{1 << 20, 4 << 20} {
		most := spool.MostMessages(kv.MaxCommit(memTable), 16<<20)
		for name, shape := range shapes {
			for _, delay := range []time.Duration{0, time.Hour} {
				t.Run(fmt.Sprint(memTable>>20, " MiB, ", name, ", ", delay), func(t *testing.T) {
					r := newRigOn(t, spool.Options{Keys: ring(1)}, kv.Options{MemTableSize: memTable})
					batch := func(n int) (all []spool.Draft) {
						for i := range n {
							d := under(fmt.Sprint(n, ".", i), keyed(strings.Repeat("t", message.MaxTopic), "", strings.Repeat("o", message.MaxShort)))
							shape(&d.Message)
							d.Delay, d.TTL = delay, time.Hour
							all = append(all, d)
						}
						return all
					}
					r.accept(batch(most)...)
					if name == "body" && delay > 0 {
						if _, err := r.Append(t.Context(), batch(most*5/4)); !errors.Is(err, spool.ErrTooLarge) {
							t.Errorf("%d messages: %v", most*5/4, err)
						}
					}
					if n := r.balanced().Held; n != uint64(most) {
						t.Errorf("%d messages are held, want %d", n, most)
					}
				})
			}
		}
	}
}

// properties are n of the shortest.
func properties(n int) func(m *message.Message) {
	return func(m *message.Message) {
		m.Body = nil
		for range n {
			m.Properties = append(m.Properties, message.Property{Name: "n", Value: "v"})
		}
	}
}
