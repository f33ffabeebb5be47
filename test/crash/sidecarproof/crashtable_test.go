package sidecarproof

import (
	"strings"
	"sync"
	"testing"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// The rows of the crash table, in their order. The client of each row had a
// key; examine sends the message again under it, as that client does.

func TestBeforeTheCommitIsWritten(t *testing.T) {
	s := newScene(t, true)
	s.hold()
	s.post()
	s.until(in("spool"))
	states := s.cut(disk.None, disk.All, disk.Random(1))
	for _, one := range states {
		if r := s.examine(one); r.stored[s.number] {
			t.Errorf("%s: the message was there", one.what)
		}
	}
}

func TestWrittenNotSynced(t *testing.T) {
	s := newScene(t, true)
	s.hold()
	s.post()
	s.until(syncOf("spool"))
	states := s.cut(disk.None, disk.All, disk.Random(1), disk.Random(2))
	var stored []bool
	for _, one := range states {
		stored = append(stored, s.examine(one).stored[s.number])
	}
	if stored[0] || !stored[1] {
		t.Errorf("the message was there: %v; want it lost with what was not synced, and kept with it", stored)
	}
}

func TestSyncedNotAnswered(t *testing.T) {
	s := newScene(t, true)
	s.hold()
	s.post()
	s.until(syncOf("spool"))
	s.stopDead()
	states := s.cut(disk.None, disk.All)
	for _, one := range states {
		if r := s.examine(one); !r.stored[s.number] {
			t.Errorf("%s: the message was not there", one.what)
		}
	}
}

func TestAnsweredNotForwarded(t *testing.T) {
	s := newScene(t, true)
	s.post()
	s.accepted()
	for _, one := range s.cut(disk.None, disk.All, disk.Random(1)) {
		s.examine(one)
	}
}

func TestSentAnswerNotRead(t *testing.T) {
	s := newScene(t, false)
	s.hold()
	s.post()
	s.until(syncOf("embedded"))
	s.accepted()
	s.stopDead()
	s.sentAgain(s.cut(disk.None, disk.All))
}

func TestConfirmedNotRecorded(t *testing.T) {
	s := newScene(t, false)
	s.hold()
	s.post()
	s.until(syncOf("embedded"))
	s.accepted()
	s.after(in("spool"))
	if r, err := s.side.get(s.fate.id); err != nil || r.State != "confirmed" {
		t.Errorf("the sidecar says %+v, %v; it has to know of the confirmation", r, err)
	}
	s.sentAgain(s.cut(disk.None, disk.All))
}

// sentAgain wants two copies of the message at the broker, under one identity,
// of which consumers that dedupe see one.
func (s *scene) sentAgain(states []state) {
	s.t.Helper()
	for _, one := range states {
		all := newApplication(s.t, smallSizes)
		one.extra = []string{subscription("copies", s.message().topic, "off", all)}
		one.until = func(*client) bool {
			calls, _ := all.seen()
			return len(calls[s.number]) >= 2
		}
		s.examine(one)
		calls, _ := all.seen()
		copies := calls[s.number]
		if len(copies) != 2 || !copies[1].repeats(copies[0]) {
			s.t.Errorf("%s: the broker has %v, want two copies of one identity", one.what, copies)
		}
	}
}

// handling is a scene in which the handler has the message, and the spool has
// recorded the broker's confirmation.
func handling(t *testing.T) (s *scene, app *application, answer func()) {
	t.Helper()
	app = newApplication(t, smallSizes)
	called, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	app.before = func() {
		first.Do(func() {
			close(called)
			<-release
		})
	}
	s = newScene(t, false, subscribe(app)...)
	answer = sync.OnceFunc(func() { close(release) })
	t.Cleanup(answer)
	s.post()
	s.accepted()
	<-called
	s.eventually("the confirmation is recorded", func() bool {
		l, err := s.side.ledger()
		return err == nil && l.Total.Confirmed == 1
	})
	return s, app, answer
}

func TestHandlerAnswered200NotRecorded(t *testing.T) {
	s, app, answer := handling(t)
	s.hold()
	answer()
	s.until(in("spool"))
	one := s.cut(disk.None)[0]
	one.reply = app
	one.until = func(*client) bool {
		calls, _ := app.seen()
		return len(calls[s.number]) >= 2
	}
	if calls := s.examine(one).calls[s.number]; len(calls) != 2 || !calls[1].repeats(calls[0]) {
		t.Errorf("the handler was called with %v, want it twice with the same Idempotency-Key", calls)
	}
}

func TestDedupeDoneBrokerNotAcked(t *testing.T) {
	s, app, answer := handling(t)
	s.hold()
	answer()
	s.until(syncOf("spool"))
	s.after(in("embedded"))
	one := s.cut(disk.None)[0]
	one.reply = app
	one.until = func(c *client) bool {
		text, err := c.metrics()
		return err == nil && strings.Contains(text, `remora_acks_total{reason="repeat"`)
	}
	if calls := s.examine(one).calls[s.number]; len(calls) != 1 {
		t.Errorf("the handler was called with %v, want it once: the mark was done", calls)
	}
}
