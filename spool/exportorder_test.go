package spool_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// What comes before a dead letter of its ordering key goes on where it is taken in, and
// what comes behind it waits.
func TestWhatIsBeforeADeadLetterIsNotImportedBehindIt(t *testing.T) {
	from, c := timed(t, spool.Options{BlockOnDead: true})
	from.accept(keyed("t", "1", "k"), mortal(keyed("t", "2", "k"), time.Minute), keyed("t", "3", "k"))
	c.advance(2 * time.Minute)
	from.awaitDead(1)
	export := from.export(spool.Query{})
	for name, restart := range restarts() {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{BlockOnDead: true})
			r.take(export)
			restart(r)
			if got := fmt.Sprint(r.leasable("t")); got != "[1]" {
				t.Errorf("leased %s", got)
			}
			r.balanced()
		})
	}
}

// standing are the messages of each topic by sequence, with what they are.
func (r *rig) standing() (all []string) {
	r.t.Helper()
	items, _ := r.list(spool.Query{Content: true})
	slices.SortFunc(items, func(a, b spool.Item) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Message.Seq, b.Message.Seq))
	})
	for _, i := range items {
		all = append(all, fmt.Sprintf("%s %.8s %s %t", i.Topic, i.Message.Body, i.State, i.OnHold))
	}
	return all
}

// TestExportsKeepOrderAndBlocking: wherever a dead letter lies, one was redriven, or a
// message is on hold, what waits for what is the same after a move, and so is the order.
func TestExportsKeepOrderAndBlocking(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		from, to := &rig{t: rt, dir: t.TempDir()}, &rig{t: rt, dir: t.TempDir()}
		for _, r := range []*rig{from, to} {
			r.opts.BlockOnDead = true
			c.rule(&r.opts)
			r.open()
			defer r.close()
		}
		from.manyEnds(rt, c)
		to.accept(keyed("0", "own", "k"))
		want := append([]string{"0 own pending false"}, from.standing()...)
		to.take(from.export(spool.Query{}))
		for _, restart := range []func(){func() {}, to.kill, to.reopen} {
			if restart(); !slices.Equal(to.standing(), want) {
				rt.Fatalf("taken in:\n%s\nwant:\n%s", strings.Join(to.standing(), "\n"), strings.Join(want, "\n"))
			}
			to.balanced()
		}
		for _, topic := range modelTopics {
			if !slices.ContainsFunc(want, func(is string) bool { return strings.HasPrefix(is, topic) }) {
				continue
			}
			if got, want := sorted(to.leasable(topic)), sorted(from.leasable(topic)); !slices.Equal(got, want) {
				rt.Errorf("%s: leased %.20q, want %.20q", topic, got, want)
			}
		}
	})
}

// manyEnds accepts messages of which some are confirmed, some expire, and some of these
// are redriven; some are put on hold.
func (r *rig) manyEnds(t *rapid.T, c *clock) {
	some := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	dead := uint64(0)
	for n := range rapid.IntRange(1, 60).Draw(t, "messages") {
		d := keyed(rapid.SampledFrom(modelTopics).Draw(t, "topic"), fmt.Sprint("body ", n), rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key"))
		if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
			d.Body = append(d.Body, strings.Repeat(".", 70<<10)...)
		}
		if some("confirmed") {
			r.accept(d)
			if leases := r.lease(d.Topic, 1); leases[0].TTL == 0 {
				r.confirm(leases)
			} else {
				r.Release(leases)
			}
			continue
		}
		if some("mortal") {
			d.TTL = time.Hour
			dead++
		}
		r.accept(d)
	}
	c.advance(2 * time.Hour)
	r.awaitDead(dead)
	items, _ := r.list(spool.Query{})
	for _, i := range items {
		switch {
		case i.State == message.StateDead && some("redriven"):
			r.redrive(i.ID)
		case i.State == message.StatePending && some("on hold"):
			r.putOnHold(i.ID)
		}
	}
}

func sorted(bodies []string) []string {
	slices.Sort(bodies)
	return bodies
}

// What dies, is redriven, or ends while an export is written is in it once, or has ended.
func TestExportHasWhatDiesMeanwhileOnce(t *testing.T) {
	r, c := timed(t, spool.Options{})
	var ids []message.ID
	for n := range 30 {
		d := draft("t", fmt.Sprintf("%02d%s", n, strings.Repeat("x", 500)))
		switch n { // each is a block, which is gone when it is dead
		case 3:
			d.TTL = time.Hour
		case 20:
			d.TTL = 2 * time.Hour
		}
		for _, got := range r.accept(repeat(100, d)...) {
			ids = append(ids, got.ID)
		}
	}
	c.advance(time.Hour)
	r.awaitDead(100)
	ended := []message.ID{ids[2003], ids[2039]}
	var b bytes.Buffer
	w := &meanwhile{do: func() {
		c.advance(time.Hour)
		r.awaitDead(200)
		r.redrive(ids[2010], ids[2011])
		r.discard(ended...)
	}}
	done, err := r.Export(t.Context(), io.MultiWriter(w, &b), spool.Query{})
	if err != nil || done.Messages != 2998 || done.Unreadable != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	times := map[string]int{}
	for _, found := range regexp.MustCompile(`"message":{"id":"([^"]*)"`).FindAllSubmatch(b.Bytes(), -1) {
		times[string(found[1])]++
	}
	for n, id := range ids {
		if times[id.String()] != 1 && !slices.Contains(ended, id) {
			t.Fatalf("message %d is there %d times", n, times[id.String()])
		}
	}
}

// The first dead letter may be the first message of all that is not settled, and lie where
// a bitmap begins.
func TestExportHasADeadLetterWhereABitmapBegins(t *testing.T) {
	for _, settled := range []uint64{0, 4094, 4095, 4096} {
		r := newRig(t, spool.Options{})
		if settled > 0 {
			if err := r.AgeTo(settled); err != nil {
				t.Fatal(err)
			}
		}
		r.accept(draft("t", "1"), draft("t", "2"))
		for _, l := range r.lease("t", 2) {
			r.bury(l)
		}
		if c, err := spool.CheckExport(bytes.NewReader(r.export(spool.Query{}))); err != nil || c.Messages != 2 {
			t.Errorf("behind %d: %+v, %v", settled, c, err)
		}
	}
}

// A dead letter whose entry is not yet written is no damage: an export waits for it.
func TestExportWaitsForADeadLetterThatIsNotYetWritten(t *testing.T) {
	for _, applied := range []bool{false, true} {
		r := newRig(t, spool.Options{})
		r.accept(draft("t", "1"), draft("t", "2"))
		leases := r.lease("t", 1)
		goOn, buried := r.hold(), make(chan error, 1)
		go func() { buried <- r.Bury(t.Context(), leases[0], "REFUSED", "it is not wanted") }()
		eventually(t, func() bool {
			return r.receipt(leases[0].ID).State == message.StateDead && r.db.Stats().Queued >= 1
		})
		queued := 2 // the dead letter, and what the export waits for
		if applied {
			reached, end := make(chan struct{}), make(chan struct{})
			r.attach().Post(func(*kv.Tx) { close(reached); <-end }, 1<<10) // in the same commit, behind it
			goOn()
			<-reached
			goOn, queued = func() { close(end) }, 1
		}
		var b bytes.Buffer
		var done spool.Exported
		exported := make(chan error, 1)
		go func() {
			var err error
			done, err = r.Export(t.Context(), &b, spool.Query{})
			exported <- err
		}()
		eventually(t, func() bool { return r.db.Stats().Queued >= queued || len(exported) > 0 })
		goOn()
		if err := <-exported; err != nil || done.Messages != 2 || done.Unreadable != 0 || !strings.Contains(b.String(), `"reason":"REFUSED"`) {
			t.Errorf("applied: %t: %+v, %v: %s", applied, done, err, b.String())
		}
		if err := <-buried; err != nil {
			t.Error(err)
		}
	}
}
