package sidecarproof

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// exitStorage is the documented exit code for storage that failed.
const exitStorage = 74

// TestFailedSync lets a sync fail, starts the sidecar again on the same mount,
// repeats the message, and cuts the power. The pages of the failed sync look
// written and are not, so whoever answers the repeat from them is found out.
func TestFailedSync(t *testing.T) {
	for n := 1; n <= testscale.Between(3, 12); n++ {
		t.Run(fmt.Sprintf("number %d", n), func(t *testing.T) {
			s := newScene(t, true)
			s.rest()
			s.fs.FailSync(n)
			s.post()
			s.failed(<-s.answer)
			if s.side.client != nil {
				s.side.client.close()
			}
			s.side = run(t, setup{program: shipped, dir: filepath.Join(s.fs.Dir(), "data"), unreachable: true}, s.fs.Start)
			r, err := s.side.publish(s.message())
			if s.fate.id = r.ID; err != nil || !r.accepted() {
				t.Fatalf("the repeat is answered %+v, %v", r, err)
			}
			for _, one := range s.cut(disk.None, disk.All) {
				s.examine(one)
			}
		})
	}
}

// failed checks the answer of a post that met a failed sync, or came just
// before it, and that the sidecar ends.
func (s *scene) failed(r receipt) {
	s.t.Helper()
	if s.fate.id = r.ID; !r.accepted() && (r.Code != "spool-read-only" || r.Stored != "unknown") {
		s.t.Errorf("the message was answered %+v, want 503 spool-read-only that does not know", r)
	}
	// It may have been accepted just before that sync: then a repeat meets it.
	for range 100 {
		if _, err := s.side.publish(s.message()); err != nil {
			break
		}
	}
	if code := s.side.exitCode(s.t); code != exitStorage {
		s.t.Errorf("the sidecar ended with %d, want %d\n%s", code, exitStorage, s.side.log.tail())
	}
}

// endsByItsStorage checks how the sidecar ends when its disk is gone: by itself,
// or by SIGBUS (which Go makes a 2) where a mapped page could not be read.
func (p *process) endsByItsStorage(t *testing.T) {
	t.Helper()
	code := p.exitCode(t)
	if code == 2 && strings.Contains(p.log.String(), "SIGBUS") {
		return
	}
	if code != exitStorage {
		t.Errorf("the sidecar ended with %d, want %d\n%s", code, exitStorage, p.log.tail())
	}
}

// TestStorageFailureEndsTheProcess takes the disk away under traffic.
func TestStorageFailureEndsTheProcess(t *testing.T) {
	for _, at := range []int{1, 2, 3, 30} {
		t.Run(fmt.Sprintf("operation %d", at), func(t *testing.T) {
			s := newScene(t, true)
			s.fs.CutAt(at)
			w := &traffic{journal: &journal{}, sizes: smallSizes, until: 5000, side: func() *client { return s.side.client }}
			w.start(1)
			w.running.Wait()
			s.side.endsByItsStorage(t)
			one := state{dir: s.fs.Survive(disk.None)[0], what: "what was left", fates: w.now(), sizes: smallSizes}
			for _, f := range examine(t, one).findings {
				t.Errorf("%s: %s", f.kind, f.text)
			}
		})
	}
}

// TestStorageFailureEndsARecovery takes the disk away from a sidecar that
// recovers what an unclean stop left. It must not wait for a disk that is gone.
func TestStorageFailureEndsARecovery(t *testing.T) {
	s := newScene(t, true)
	s.post()
	s.accepted()
	for at := 1; at <= 41; at += testscale.Between(4, 1) {
		t.Run(fmt.Sprintf("operation %d", at), func(t *testing.T) {
			fs := powerfs.Mount(t, powerfs.Options{From: s.fs.Survive(disk.None)[0]})
			fs.CutAt(at)
			p := launch(t, setup{program: shipped, dir: filepath.Join(fs.Dir(), "data"), unreachable: true}, fs.Start)
			p.endsByItsStorage(t)
		})
	}
}

// TestALostTailReusesNoID gives a spool of a moment ago to a broker of now, as
// a restored volume does: the spool has forgotten a message that the broker
// has. If the next one got its ID, consumers would drop it as a repeat.
func TestALostTailReusesNoID(t *testing.T) {
	fs := powerfs.Mount(t, powerfs.Options{})
	first := run(t, setup{program: shipped, dir: filepath.Join(fs.Dir(), "data")}, fs.Start)
	before := fs.Survive(disk.View)[0]
	lost, err := first.publish(smallSizes.message(1))
	if err != nil || !lost.accepted() {
		t.Fatalf("%+v, %v", lost, err)
	}
	s := &scene{t: t, fs: fs, side: first}
	s.eventually("the broker has it", func() bool {
		l, err := first.ledger()
		return err == nil && l.Total.Confirmed == 1
	})
	after := fs.Survive(disk.View)[0]
	first.kill()

	mixed := t.TempDir()
	take(t, filepath.Join(before, "data", "spool"), filepath.Join(mixed, "spool"))
	take(t, filepath.Join(after, "data", "embedded"), filepath.Join(mixed, "embedded"))
	app := newApplication(t, smallSizes)
	side := run(t, setup{program: shipped, dir: mixed, subscriptions: subscribe(app)}, spawn(t))
	second, err := side.publish(smallSizes.message(2))
	if err != nil || !second.accepted() || second.ID == lost.ID {
		t.Fatalf("%+v, %v; the first one was %s", second, err, lost.ID)
	}
	s.eventually("both reach the handler", func() bool {
		calls, _ := app.seen()
		return len(calls[1]) == 1 && len(calls[2]) == 1
	})
	side.kill()
}

func take(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
