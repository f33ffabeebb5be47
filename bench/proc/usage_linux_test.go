package proc

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestReadOwnUsage(t *testing.T) {
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
	}
	held := bytes.Repeat([]byte{1}, 4<<20)
	u, err := Read(os.Getpid())
	if err != nil || u.CPU <= 0 || u.Anonymous < int64(len(held)) {
		t.Errorf("got %+v, %v", u, err)
	}
	runtime.KeepAlive(held)
}

func TestSleeperIsQuiet(t *testing.T) {
	p := startReady(t, `echo ready; exec sleep 600`)
	defer func() { _ = p.Stop(10 * time.Second) }() // ended by the signal
	began := time.Now()
	if err := Quiet(t.Context(), p.PID(), time.Minute); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

func TestBusyProcessIsNotQuiet(t *testing.T) {
	p := startReady(t, `echo ready; while :; do :; done`)
	defer func() { _ = p.Stop(10 * time.Second) }() // ended by the signal
	began := time.Now()
	if err := Quiet(t.Context(), p.PID(), time.Second); err != nil || time.Since(began) < time.Second {
		t.Errorf("got %v after %v, want the longest wait", err, time.Since(began))
	}
}
