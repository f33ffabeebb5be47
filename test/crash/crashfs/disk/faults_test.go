package disk

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailedSyncForgetsPages(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "old")
	s.ok(s.Sync(f, true))
	s.FailSync(2)
	s.ok(s.Sync(f, true))
	s.ok(s.Write(f, []byte("new"), 0))
	s.want(s.Sync(f, true), syscall.EIO)
	s.ok(s.Sync(f, true))
	s.survives(View, "a=new")
	s.survives(None, "a=old")
	s.survives(All, "a=old")
	s.ok(s.Write(f, []byte("N"), 0)) // dirty again, the page is written whole
	s.ok(s.Sync(f, true))
	s.survives(None, "a=New")
}

func TestFailedSyncCommitsNoName(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "x")
	s.FailSync(2)
	s.ok(s.SyncDir(s.Root()))
	s.rename("a", "b")
	s.want(s.SyncDir(s.Root()), syscall.EIO)
	s.survives(None, "a=")
	s.ok(s.Sync(f, false))
	s.survives(None, "b=x")
}

func TestNoSpace(t *testing.T) {
	s := start(t, Options{Space: 3 * PageSize})
	f := s.create("a", "x")
	s.ok(s.Allocate(f, 0, 2*PageSize, true))
	g := s.create("b", "y")
	s.want(s.Write(g, []byte("z"), PageSize), syscall.ENOSPC)
	s.want(s.Allocate(g, 0, 2*PageSize, true), syscall.ENOSPC)
	s.ok(s.Write(f, []byte("z"), PageSize)) // reserved
	s.unlink("a")
	s.want(s.Write(g, []byte("z"), PageSize), syscall.ENOSPC) // a is still open
	s.Close(f)
	s.ok(s.Write(g, []byte("z"), PageSize))
	s.SetSpace(PageSize)
	s.want(s.Write(g, []byte("z"), 2*PageSize), syscall.ENOSPC)
	s.ok(s.Resize(g, 0))
	if used, limit := s.Usage(); used != 0 || limit != PageSize {
		t.Errorf("uses %d of %d, want 0 of %d", used, limit, PageSize)
	}
}

func TestCutAt(t *testing.T) {
	var events []Event
	s := start(t, Options{Notify: func(ev Event) { events = append(events, ev) }})
	f := s.create("a", "x") // two operations
	s.CutAt(2)
	s.ok(s.Sync(f, true))
	s.want(s.Write(f, []byte("y"), 0), syscall.EIO)
	_, errno := s.Read(f, make([]byte, 1), 0)
	s.want(errno, syscall.EIO)
	s.want(s.Sync(f, true), syscall.EIO)
	s.survives(All, "a=x")
	ops := s.History()
	if len(ops) != 4 || ops[3] != (Op{"write", "a", "0+1"}) {
		t.Errorf("history %v, want the refused write as the fourth", ops)
	}
	if !slices.Equal(events, []Event{{Kind: EventCut, Ops: 4}}) {
		t.Errorf("events %v", events)
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		s := start(t, Options{Notify: func(ev Event) {
			text := ev.Kind
			if ev.Held != nil {
				text += " " + ev.Held.Kind
			}
			events = append(events, text)
		}})
		f := s.create("a", "x")
		s.HoldAt(1)
		synced := make(chan syscall.Errno, 1)
		go func() { synced <- s.Sync(f, true) }()
		synctest.Wait()
		later := make(chan syscall.Errno, 1)
		go func() { later <- s.SyncDir(s.Root()) }()
		synctest.Wait()
		if ops, _ := s.Counts(); ops != 3 {
			t.Errorf("%d operations arrived, want 3: the later one waits, too", ops)
		}
		s.survives(None, "")
		s.Resume(2)
		s.ok(<-synced)
		s.ok(<-later)
		s.survives(None, "a=x")
		go func() { synced <- s.Write(f, []byte("y"), 0) }()
		synctest.Wait()
		s.survives(All, "a=x")
		s.Cut()
		s.want(<-synced, syscall.EIO)
		s.survives(All, "a=x")
		if want := []string{"held fdatasync", "held write", "cut"}; !slices.Equal(events, want) {
			t.Errorf("events %v, want %v", events, want)
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Options{})
		f := s.create("a", "x")
		s.Stall(time.Minute)
		began := time.Now()
		s.ok(s.Sync(f, true))
		if d := time.Since(began); d != time.Minute {
			t.Errorf("sync took %v, want a minute", d)
		}
		synced := make(chan syscall.Errno, 1)
		go func() { synced <- s.Sync(f, true) }()
		synctest.Wait()
		s.Stall(0)
		s.ok(<-synced)
		if d := time.Since(began); d != time.Minute {
			t.Errorf("the released sync took %v", d-time.Minute)
		}
	})
}

// TestHeldOperationAppliesBeforeTheNextIsHeld lets one operation go while
// another waits: when the second is reported as held, the first is done.
func TestHeldOperationAppliesBeforeTheNextIsHeld(t *testing.T) {
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			held := make(chan Event, 2)
			s := start(t, Options{Notify: func(ev Event) { held <- ev }})
			f, g := s.create("a", "x"), s.create("b", "y")
			s.HoldAt(1)
			go s.Sync(f, false)
			<-held
			go s.Sync(g, false)
			synctest.Wait()
			s.Resume(1)
			if ev := <-held; ev.Held.Path != "b" {
				t.Fatalf("%s is held, want b", ev.Held.Path)
			}
			s.survives(None, "a=x")
			s.Resume(0)
		})
	}
}
