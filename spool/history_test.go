package spool_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
)

// Options say how much is in memory and how much goes in one piece: whatever
// they are, the same messages come to the same ends, in the same order per key.
func TestOptionsDoNotChangeHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := rapid.SliceOfN(rapid.Custom(drawAct), 1, 60).Draw(t, "script")
		want, first := "", ""
		for _, name := range slices.Sorted(maps.Keys(models)) {
			got := play(t, name, script)
			if first == "" {
				want, first = got, name
			}
			if got != want {
				t.Fatalf("with %s:\n%s\nwith %s:\n%s", first, want, name, got)
			}
		}
	})
}

// act is one message and what will become of it.
type act struct {
	key     string
	size    int
	fate    message.State
	retries int
	then    string // reopen, kill
}

func drawAct(t *rapid.T) act {
	return act{
		key:     rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key"),
		size:    rapid.SampledFrom([]int{0, 10, 3000, 70 << 10}).Draw(t, "size"),
		fate:    rapid.SampledFrom([]message.State{message.StateConfirmed, message.StateConfirmed, message.StateDead, message.StateCancelled}).Draw(t, "fate"),
		retries: rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "retries"),
		then:    rapid.SampledFrom([]string{"", "", "", "", "", "reopen", "kill"}).Draw(t, "then"),
	}
}

// play accepts the script's messages, forwards them, and tells how it went.
func play(t *rapid.T, options string, script []act) string {
	dir, err := os.MkdirTemp("", "spool-history")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r := &rig{t: t, dir: dir, opts: models[options].spool, kv: models[options].kv}
	r.open()
	defer func() { r.close() }()
	var ids []message.ID
	for i, a := range script {
		d := keyed("t", fmt.Sprint(i, " ", strings.Repeat("x", a.size)), a.key)
		ids = append(ids, r.accept(d)[0].ID)
		if a.fate == message.StateCancelled {
			if _, err := r.Cancel(t.Context(), ids[i]); err != nil {
				t.Fatal(err)
			}
		}
		switch a.then {
		case "reopen":
			r.reopen()
		case "kill":
			r.kill()
		}
	}
	order := r.forwardScript(script)
	r.reopen()
	total := r.balanced().Ledger.Total
	var states []message.State
	for _, id := range ids {
		got, err := r.Receipt(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, got.State)
	}
	return fmt.Sprintf("%v\n%v\n%+v", states, order, total)
}

// forwardScript gives each message its fate, and returns the order of keys.
func (r *rig) forwardScript(script []act) map[string][]int {
	order, tried := map[string][]int{}, map[int]int{}
	left := 0
	for _, a := range script {
		if a.fate != message.StateCancelled {
			left++
		}
	}
	for left > 0 {
		l := r.lease("t", 1)
		var n int
		if _, err := fmt.Sscan(string(l[0].Body), &n); err != nil {
			r.t.Fatal(err)
		}
		if tried[n]++; tried[n] <= script[n].retries {
			r.Retry(l, time.Now(), message.OutcomeRetryable, "no")
			continue
		}
		if left--; script[n].fate == message.StateDead {
			r.bury(l[0])
		} else {
			r.confirm(l)
		}
		if k := script[n].key; k != "" {
			order[k] = append(order[k], n)
		}
	}
	return order
}
