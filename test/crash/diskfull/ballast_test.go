package diskfull

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBallastLetsAStartOpen: others have taken a part of the reserve, and not more than
// the ballast gives back. A start opens the spool, and nobody has to make room for
// that; nothing is accepted before the ballast is there again, whether room comes while
// it runs or before it starts.
func TestBallastLetsAStartOpen(t *testing.T) {
	s := newSite(t, newDisk(t, volumeSize))
	l := s.start(false)
	l.eventually("accepting", func() bool { return l.offer() == "" })
	for range 400 {
		l.offer()
	}
	reserve, whole := int64(l.gauge("remora_spool_reserve_bytes")), s.ballast()
	if reserve == 0 || whole < 16<<20 {
		t.Fatalf("the reserve is %d MiB, the ballast %d", reserve>>20, whole>>20)
	}
	l.kill()
	for _, running := range []bool{true, false} {
		other := s.disk.intruder()
		other.take(s.disk.free() - reserve + whole/2)
		if free := s.disk.free(); free >= reserve || free < reserve-whole {
			t.Fatalf("%d MiB are free of a reserve of %d", free>>20, reserve>>20)
		}
		l = s.start(false)
		l.eventually("the spool is open", func() bool {
			led, err := l.ledger()
			return err == nil && led.Balanced && int(led.Total.Accepted) >= s.sent.count()
		})
		if code := l.offer(); code != "disk-low" || s.ballast() != 0 {
			t.Errorf("offered a message: %q, want disk-low; the ballast has %d MiB, want 0", code, s.ballast()>>20)
		}
		if !running {
			l.kill()
		}
		other.leave()
		if !running {
			l = s.start(false)
		}
		l.eventually("accepting again", func() bool { return l.offer() == "" })
		if held := s.ballast(); held < whole {
			t.Errorf("accepted with a ballast of %d MiB, want %d", held>>20, whole>>20)
		}
		l.kill()
	}
	l = s.start(true)
	l.eventually("accepting again", func() bool { return l.ready() && l.offer() == "" })
	l.settle()
	l.end()
}

// ballast is how many bytes of blocks the ballast has.
func (s *site) ballast() int64 {
	s.t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(filepath.Join(s.dir, "spool", "ballast"), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	must(s.t, err)
	return st.Blocks * 512
}
