package reread

import (
	"errors"
	"testing"
	"time"
)

// Files are read when it is time, and not before; what cannot be read leaves what was
// known, and is told to the one who asked.
func TestReadWhenItIsTime(t *testing.T) {
	now, reads, failure := time.Now(), 0, error(nil)
	v := New(0, func(known int) (int, error) { reads++; return known + 1, failure }, func() time.Time { return now })
	is := func(want, wantReads int, wantErr error) {
		t.Helper()
		got, err := v.Current()
		if got != want || reads != wantReads || !errors.Is(err, wantErr) {
			t.Errorf("%d after %d reads (%v), want %d after %d (%v)", got, reads, err, want, wantReads, wantErr)
		}
	}
	is(0, 0, nil)
	now = now.Add(Every - 1)
	is(0, 0, nil)
	now = now.Add(1)
	is(1, 1, nil)
	is(1, 1, nil)
	now, failure = now.Add(Every), errors.New("no such file")
	is(1, 2, failure)
	is(1, 2, nil)
	now, failure = now.Add(Every), nil
	is(2, 3, nil)
}

// Who asks while another reads is told what was known, and does not wait.
func TestNobodyWaitsForTheReader(t *testing.T) {
	begun, goOn, over := make(chan struct{}), make(chan struct{}), make(chan int)
	now := time.Now()
	v := New(1, func(int) (int, error) { close(begun); <-goOn; return 2, nil }, func() time.Time { return now })
	now = now.Add(Every)
	go func() { got, _ := v.Current(); over <- got }()
	<-begun
	if got, err := v.Current(); got != 1 || err != nil {
		t.Errorf("meanwhile %d (%v), want 1", got, err)
	}
	close(goOn)
	if got := <-over; got != 2 {
		t.Errorf("the one who read has %d, want 2", got)
	}
}
