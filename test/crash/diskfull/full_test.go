package diskfull

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// volumeSize is that of the disks, in MiB.
const volumeSize = 448

// TestFilledByUs fills the spool with nobody to forward to, until it refuses: at
// its limit, or in every second cycle at the reserve, because somebody holds a
// part of the disk. Then it is killed
// or ended, and one with a broker has to empty it and accept again.
func TestFilledByUs(t *testing.T) {
	s := newSite(t, newDisk(t, volumeSize))
	cycles := testscale.Between(3, 100)
	for n := range cycles {
		other, limit := s.disk.intruder(), "spool.limit=150MiB"
		if n%2 == 1 {
			other.take(40 << 20)
			limit = "spool.limit=1GiB"
		}
		l := s.start(false, "spool.topic_share=100%", limit)
		l.eventually("accepting", func() bool { return l.offer() == "" })
		s.push(20)
		if l.dead() {
			t.Fatalf("cycle %d: filling ended it: %s\n%s", n, l.cmd.ProcessState, l.log.tail())
		}
		if l.status(l.ports[2], "/livez") != 200 || !l.ready() {
			t.Errorf("cycle %d: a full spool is not live and ready", n)
		}
		if n%3 == 0 {
			l.end()
		} else {
			l.kill()
		}
		l = s.start(true, "spool.topic_share=100%", limit)
		l.eventually("accepting again", func() bool { return l.ready() && l.offer() == "" })
		l.settle()
		l.eventually("the space is given back", func() bool { return l.gauge("remora_spool_bytes") < 170<<20 })
		l.kill()
		other.leave()
	}
	t.Logf("%d cycles: %d accepted, refused %v", cycles, s.sent.count(), s.sent.refused)
	for _, code := range []string{"spool-full", "disk-low"} {
		if s.sent.refused[code] == 0 {
			t.Errorf("nothing was refused with %s: it was not full", code)
		}
	}
}

// TestFilledByOthers takes all room under traffic. The sidecar may die of it. Its
// next start has to come up, wait, and go on when there is room.
func TestFilledByOthers(t *testing.T) {
	s := newSite(t, newDisk(t, volumeSize))
	cycles, deaths, killed := testscale.Between(5, 100), 0, 0
	rng := rand.New(rand.NewPCG(1, 2))
	l := s.start(true)
	for n := range cycles {
		l.eventually("accepting", func() bool { return l.offer() == "" })
		other := s.disk.intruder()
		filled := make(chan struct{})
		timer := time.AfterFunc(time.Duration(rng.IntN(1500))*time.Millisecond, func() {
			defer close(filled)
			other.fill()
		})
		s.push(30)
		if timer.Stop() {
			t.Fatalf("cycle %d: refused before the disk was full", n)
		}
		<-filled
		if rng.IntN(3) == 0 && !l.dead() {
			l.kill()
			killed++
			l = s.onFullDisk()
		} else if l.dead() {
			l.diedOfTheDisk()
			deaths++
			l = s.onFullDisk()
		}
		other.leave()
		if !l.resumes() { // it was dying when the disk became free
			l.diedOfTheDisk()
			deaths++
			l = s.start(true)
			l.eventually("accepting again", func() bool { return l.ready() && l.offer() == "" })
		}
		if n%5 == 4 || n == cycles-1 {
			l.settle()
		}
	}
	l.end()
	t.Logf("%d cycles: %d deaths, %d kills, %d accepted, refused %v", cycles, deaths, killed, s.sent.count(), s.sent.refused)
}

// onFullDisk starts a sidecar that has to wait.
func (s *site) onFullDisk() *life {
	s.t.Helper()
	l := s.start(true)
	l.eventually("answering", func() bool { return l.live() && l.offer() == "disk-low" })
	return l
}

// resumes waits until messages are accepted; false: it has died.
func (l *life) resumes() bool {
	l.t.Helper()
	l.eventuallyOrDead("accepting again", func() bool { return l.dead() || l.ready() && l.offer() == "" })
	return !l.dead()
}

// diedOfTheDisk fails the test unless it was a page that had no block.
func (l *life) diedOfTheDisk() {
	l.t.Helper()
	if log := l.log.String(); !strings.Contains(log, "SIGBUS") {
		l.t.Errorf("ended by %s, not by SIGBUS\n%s", l.cmd.ProcessState, l.log.tail())
	}
}

// TestStartsOnAFullDisk starts five times while somebody takes every byte that
// becomes free, the ballast's too. No start may open the spool, or die.
func TestStartsOnAFullDisk(t *testing.T) {
	s := newSite(t, newDisk(t, volumeSize))
	l := s.start(false)
	l.eventually("accepting", func() bool { return l.offer() == "" })
	for range 400 {
		l.offer()
	}
	l.kill()
	other := s.disk.intruder()
	stop := other.refill()
	defer stop()
	const starts = 5
	each := time.Duration(testscale.Between(10, 60)) * time.Second / starts
	for n := range starts {
		l = s.start(false)
		l.eventually("answering", func() bool { return l.live() && l.offer() == "disk-low" })
		until := time.Now().Add(each)
		l.eventually("the time is over", func() bool {
			if code := l.offer(); code != "disk-low" || !l.live() || l.ready() {
				t.Errorf("start %d: offered a message: %q; live %t, ready %t", n, code, l.live(), l.ready())
			}
			return t.Failed() || time.Now().After(until)
		})
		l.end()
	}
	l = s.start(true)
	l.eventually("answering", func() bool { return l.live() && l.offer() == "disk-low" })
	stop()
	other.leave()
	l.eventually("accepting again", func() bool { return l.ready() && l.offer() == "" })
	l.settle()
	l.end()
	t.Logf("%d starts on a full disk for %s each, %d accepted before and after", starts, each, s.sent.count())
}

// TestUnfinishedTablesGiveWay: a compaction has filled the disk, and the process died
// of it. Nobody else can make room, so the start that finds no room has to.
func TestUnfinishedTablesGiveWay(t *testing.T) {
	s := newSite(t, newDisk(t, volumeSize))
	l := s.start(false)
	l.eventually("accepting", func() bool { return l.offer() == "" })
	for range 400 {
		l.offer()
	}
	l.kill()
	unfinished := s.disk.intruder()
	unfinished.fill()
	must(t, unfinished.file.Close())
	must(t, os.Rename(unfinished.file.Name(), filepath.Join(s.dir, "spool", "db", "900000.sst")))
	l = s.start(true)
	l.eventually("accepting again", func() bool { return l.ready() && l.offer() == "" })
	if !strings.Contains(l.log.String(), "removed tables that were not finished") {
		t.Errorf("nothing of it is logged: %s", l.log.tail())
	}
	l.settle()
	l.end()
}
