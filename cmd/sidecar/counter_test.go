package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

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
		time.Sleep(62 * time.Second)
		p.end()
		if got, want := log.String(), "12 messages: redrive, 1m0s\n12 messages: redrive, 2m0s\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
