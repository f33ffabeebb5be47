package proc

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestReadOwnUsage(t *testing.T) {
	held := bytes.Repeat([]byte{1}, 4<<20)
	var u Usage
	var err error
	for end := time.Now().Add(30 * time.Second); u.CPU == 0 && err == nil && time.Now().Before(end); {
		u, err = Read(os.Getpid())
	}
	if err != nil || u.CPU <= 0 {
		t.Errorf("got %+v, %v", u, err)
	}
	sampled, err := Anonymous(os.Getpid())
	if err != nil || sampled < int64(len(held)) {
		t.Errorf("got %d bytes, %v", sampled, err)
	}
	runtime.KeepAlive(held)
}

// TestTreeIsCounted has a child that lives, one that has ended and was waited
// for, and one that nobody waits for.
func TestTreeIsCounted(t *testing.T) {
	const spin = `i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done`
	p := startReady(t, `(`+spin+`); sh -c '`+spin+`; sleep 600 & echo ready; wait' & exec sleep 600`)
	defer func() { _ = p.Stop(10 * time.Millisecond) }() // the children have to be killed
	alone, err := Read(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	all, err := ReadTree(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	members, err := readTree(p.PID())
	if err != nil || len(members) != 3 { // sleep, sh, and its sleep
		t.Errorf("%d processes, %v: %+v", len(members), err, members)
	}
	if waited, living := members[0].waited, members[1].own; waited <= 0 || living <= 0 || all.CPU < alone.CPU+waited+living {
		t.Errorf("all %v, alone %v, waited for %v, living %v", all.CPU, alone.CPU, waited, living)
	}
}

// TestSharedMemoryIsCountedOnce has a child that was forked and shares nearly all
// pages; a write to a huge one copies more than was written.
func TestSharedMemoryIsCountedOnce(t *testing.T) {
	const size = 32 << 20
	p := startReady(t, `x=$(head -c 33554432 /dev/zero | tr '\0' x); (echo ready; sleep 600; :) & wait; : "$x"`)
	defer p.Kill()
	members, err := readTree(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	each, err := members.sum(Anonymous)
	if err != nil {
		t.Fatal(err)
	}
	all, err := AnonymousOfTree(p.PID())
	if err != nil || all < size || all > each-size/2 {
		t.Errorf("all hold %d bytes, %d when each is asked; %v", all, each, err)
	}
}

func TestProcessThatIsNotThereHasNoUsage(t *testing.T) {
	p := startReady(t, `echo ready; exec sleep 600`)
	_ = p.Stop(10 * time.Second) // ended by the signal
	if u, err := ReadTree(p.PID()); err == nil {
		t.Errorf("got %+v", u)
	}
}

func TestSleeperIsQuiet(t *testing.T) {
	p := startReady(t, `echo ready; exec sleep 600`)
	defer func() { _ = p.Stop(10 * time.Second) }() // ended by the signal
	began := time.Now()
	if err := Quiet(t.Context(), p.PID(), time.Minute); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}
