package peer

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestFilesHoldWhatWasSent(t *testing.T) {
	const writers, each = 8, 50
	for _, p := range []Peer{Append{}, GroupAppend{}} {
		t.Run(p.Name(), func(t *testing.T) {
			dir := t.TempDir()
			running, err := p.Start(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for range writers {
				all.Go(func() { sendMany(t, running, each) })
			}
			all.Wait()
			if got := logSize(t, dir); got != writers*each*4 {
				t.Errorf("the log has %d bytes, want %d", got, writers*each*4)
			}
			if err := running.Forget(t.Context()); err != nil || logSize(t, dir) != 0 {
				t.Errorf("forget: %v, the log has %d bytes", err, logSize(t, dir))
			}
			sendMany(t, running, 1)
			if err := running.Stop(); err != nil || logSize(t, dir) != 4 {
				t.Errorf("stop: %v, the log has %d bytes", err, logSize(t, dir))
			}
		})
	}
}

func sendMany(t *testing.T, r Running, n int) {
	t.Helper()
	c, err := r.Dial(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	for range n {
		if err := c.Send([]byte("body")); err != nil {
			t.Error(err)
		}
	}
}

func logSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestFailedSyncIsToldToAllWriters(t *testing.T) {
	running, err := GroupAppend{}.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := running.(*group)
	g.log.Close() // every write fails from here on
	for range 2 {
		if err := g.Send([]byte("body")); err == nil {
			t.Error("no error")
		}
	}
	if err := g.Stop(); err == nil {
		t.Error("the file was closed twice, and Stop does not say so")
	}
	if err := g.Send(nil); err == nil {
		t.Error("a log that is closed takes messages")
	}
}
