package sidecarproof

import (
	"testing"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// The power goes after each call for a transaction was answered, and while its sync
// is under way. What was answered stands; what was not is one or the other, and told
// to who asks again.
func TestPowerLossAtEachStepOfATransaction(t *testing.T) {
	for _, step := range []struct {
		name, what string // the call; "": the prepare itself
		maybe, is  decision
	}{
		{"prepare", "", open, open},
		{"commit", "/commit", maybeCommitted, isCommitted},
		{"rollback", "/rollback", maybeRolledBack, isRolledBack},
	} {
		t.Run(step.name+" answered", func(t *testing.T) {
			d := newDealScene(t, step.what)
			d.set(<-d.ask(step.what), step.is)
			d.judge(disk.None, disk.All, disk.Random(1))
		})
		t.Run(step.name+" under way", func(t *testing.T) {
			d := newDealScene(t, step.what)
			d.hold()
			answer := d.ask(step.what)
			d.until(syncOf("spool"))
			d.set(dealAnswer{}, step.maybe)
			d.judge(disk.None, disk.All, disk.Random(1))
			if a := <-answer; a.Status == 200 || a.Status == 201 {
				t.Errorf("it was answered %+v, and is about one that was not", a)
			}
		})
	}
}

// dealScene is a scene with a transaction of three messages.
type dealScene struct {
	*scene

	messages []message
	all      []fate
}

// newDealScene has it prepared, if what is done is another thing.
func newDealScene(t *testing.T, what string) *dealScene {
	t.Helper()
	d := &dealScene{scene: newScene(t, true)}
	for n := range 3 {
		d.messages = append(d.messages, smallSizes.message(n))
		d.all = append(d.all, fate{sent: true, deal: dealID(0)})
	}
	if what != "" {
		d.set(<-d.ask(""), open)
	}
	return d
}

// ask calls, and gives the answer; of a call that got none it is empty.
func (d *dealScene) ask(what string) <-chan dealAnswer {
	answer := make(chan dealAnswer, 1)
	go func() {
		var a dealAnswer
		var err error
		if what == "" {
			a, err = d.side.prepare(d.messages, nobody)
		} else {
			a, err = d.side.deal(dealID(0), what)
		}
		if err != nil {
			a = dealAnswer{}
		}
		answer <- a
	}()
	return answer
}

// set notes what the client knows.
func (d *dealScene) set(a dealAnswer, is decision) {
	for n := range d.all {
		if d.all[n].decision = is; n < len(a.Messages) {
			d.all[n].id = a.Messages[n].ID
		}
	}
}

// judge cuts the power, and looks at what that may leave.
func (d *dealScene) judge(survivors ...disk.Survivors) {
	d.t.Helper()
	for _, one := range d.cut(survivors...) {
		one.fates = append([]fate(nil), d.all...)
		r := examine(d.t, one)
		for _, f := range r.findings {
			d.t.Errorf("%s: %s: %s", one.what, f.kind, f.text)
		}
	}
}
