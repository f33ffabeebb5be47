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
	"github.com/remora-mq/remora/spool"
)

// Options say how much is in memory, how much goes in one piece or one commit, how
// long what, and whether it is encrypted: whatever they are, the same messages
// come to the same ends, in the same order per key, by the same attempts, through
// holds, retries, kills and reopens.
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
	joined  bool   // with the next one in one Append
	again   bool   // its client repeats it
	heldFor int    // messages that are accepted until it is released from hold; 0: it is not held
	then    string // reopen, kill: when it was accepted

	retries, releases int    // attempts that fail, leases that are given back before
	after             string // reopen, kill: when it has come to its end
}

func drawAct(t *rapid.T) act {
	restart := []string{"", "", "", "", "", "", "reopen", "kill"}
	return act{
		key:      rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key"),
		size:     rapid.SampledFrom([]int{0, 10, 3000, 70 << 10}).Draw(t, "size"),
		fate:     rapid.SampledFrom([]message.State{message.StateConfirmed, message.StateConfirmed, message.StateDead, message.StateCancelled}).Draw(t, "fate"),
		joined:   rapid.IntRange(0, 2).Draw(t, "joined") == 0,
		again:    rapid.IntRange(0, 3).Draw(t, "again") == 0,
		heldFor:  rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "held for"),
		then:     rapid.SampledFrom(restart).Draw(t, "then"),
		retries:  rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "retries"),
		releases: rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "releases"),
		after:    rapid.SampledFrom(restart).Draw(t, "after"),
	}
}

// player plays a script, and notes how it went.
type player struct {
	*rig
	script []act
	ids    []message.ID
	drafts []spool.Draft // accepted with the next one
	order  map[string][]int
	seen   []string // of the leases: attempts and numbers
}

// play accepts the script's messages, forwards them, and tells how it went.
func play(t *rapid.T, options string, script []act) string {
	dir, err := os.MkdirTemp("", "spool-history")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opts := models[options].spool
	opts.BlockOnDead = false // which is there to make another history
	p := &player{rig: &rig{t: t, dir: dir, opts: opts, kv: models[options].kv}, script: script, order: map[string][]int{}}
	p.open()
	defer func() { p.close() }()
	for i := range script {
		p.acceptAct(t, i)
	}
	for i, a := range script {
		if a.heldFor > 0 && i+a.heldFor >= len(script) {
			p.release(t, i)
		}
	}
	p.forward(t)
	p.reopen()
	return p.told(t)
}

// acceptAct accepts message i, unless it goes with the next one, and does what is to
// be done before it is forwarded.
func (p *player) acceptAct(t *rapid.T, i int) {
	a := p.script[i]
	d := under(fmt.Sprint("key ", i), keyed("t", fmt.Sprint(i, " ", strings.Repeat("x", a.size)), a.key))
	p.drafts = append(p.drafts, d)
	if a.joined && i+1 < len(p.script) {
		return
	}
	first := len(p.ids)
	for _, r := range p.accept(p.drafts...) {
		p.ids = append(p.ids, r.ID)
	}
	for n, d := range p.drafts {
		p.prepare(t, first+n, d)
	}
	p.drafts = nil
	for n := range p.ids {
		if held := p.script[n].heldFor; held > 0 && n+held >= first && n+held <= i {
			p.release(t, n)
		}
	}
	p.restart(a.then)
}

func (p *player) prepare(t *rapid.T, i int, d spool.Draft) {
	a := p.script[i]
	if a.again {
		if r := p.accept(d)[0]; !r.Duplicate || r.ID != p.ids[i] {
			t.Fatalf("repeated: %+v", r)
		}
	}
	switch {
	case a.fate == message.StateCancelled:
		if _, err := p.Cancel(t.Context(), p.ids[i]); err != nil {
			t.Fatal(err)
		}
	case a.heldFor > 0:
		p.putOnHold(p.ids[i])
	}
}

// release lets a message be forwarded that was on hold.
func (p *player) release(t *rapid.T, i int) {
	if p.script[i].fate == message.StateCancelled {
		return
	}
	if _, err := p.ReleaseHeld(t.Context(), p.ids[i]); err != nil {
		t.Fatal(err)
	}
}

func (p *player) restart(how string) {
	switch how {
	case "reopen":
		p.reopen()
	case "kill":
		p.Flush() // else what was confirmed last may come again, or not
		p.kill()
	}
}

// forward gives each message its fate.
func (p *player) forward(t *rapid.T) {
	tried, given := map[int]int{}, map[int]int{}
	left := 0
	for _, a := range p.script {
		if a.fate != message.StateCancelled {
			left++
		}
	}
	for left > 0 {
		l := p.lease("t", 1)
		var n int
		if _, err := fmt.Sscan(string(l[0].Body), &n); err != nil {
			t.Fatal(err)
		}
		a := p.script[n]
		p.seen = append(p.seen, fmt.Sprintf("%d:%d/%d", n, l[0].TopicSeq, l[0].Attempt))
		switch {
		case given[n] < a.releases:
			given[n]++
			p.Release(l)
			continue
		case tried[n] < a.retries:
			tried[n]++
			p.Retry(l, time.Now(), message.OutcomeRetryable, "no")
			continue
		case a.fate == message.StateDead:
			p.bury(l[0])
		default:
			p.confirm(l)
		}
		left--
		if a.key != "" {
			p.order[a.key] = append(p.order[a.key], n)
		}
		p.restart(a.after)
	}
}

// told is what the spool says in the end, and the order of each key and the leases
// of each message.
func (p *player) told(t *rapid.T) string {
	var states []string
	for _, id := range p.ids {
		got, err := p.Receipt(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, fmt.Sprint(got.State, got.OnHold))
	}
	var excepted []string
	for _, e := range p.exceptions("t", 100) {
		excepted = append(excepted, fmt.Sprint(e.TopicSeq, e.State))
	}
	slices.Sort(excepted)
	slices.Sort(p.seen)
	total := p.balanced().Ledger.Total
	total.Bytes = 0 // a payload that is stored apart counts by its own lengths, which are some bytes more
	return fmt.Sprintf("%v\n%v\n%v\n%v\n%+v", states, p.order, p.seen, excepted, total)
}
