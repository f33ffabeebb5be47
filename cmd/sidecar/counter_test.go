package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// What nothing goes on for is told at once, and once, and in each line while it is so.
func TestCounterTellsAtOnceWhatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newCounter(&log, "messages: redrive")
		p.set(5)
		time.Sleep(time.Second)
		for range 3 {
			p.show(counterLine{n: 5, waits: "as it is paused"})
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		p.show(counterLine{n: 5})
		time.Sleep(time.Minute)
		p.end()
		if got, want := log.String(), "5 messages: redrive, 1s: waits, as it is paused\n5 messages: redrive, 1m0s: waits, as it is paused\n5 messages: redrive, 2m0s\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// What it is at stands before what that waits for, also in the line that is told at once.
func TestCounterTellsWhyAfterWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newCounter(&log, "messages: redrive")
		p.show(counterLine{at: "waiting for the outcome of the first 5", waits: "as it is paused"})
		synctest.Wait()
		p.end()
		if got, want := log.String(), "messages: redrive, 0s, waiting for the outcome of the first 5, as it is paused\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// What is not a terminal gets a line a minute, and nothing of what is soon done.
func TestCounterTellsALogEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newCounter(&log, "messages: redrive")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("told before a minute: %q", &log)
		}
		p.set(12)
		time.Sleep(2 * time.Second)
		p.show(counterLine{n: 12, at: "waiting for the outcome of the first 5"})
		time.Sleep(time.Minute)
		p.end()
		if got, want := log.String(), "12 messages: redrive, 1m0s\n12 messages: redrive, 2m0s, waiting for the outcome of the first 5\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
