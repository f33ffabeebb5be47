package transaction

import (
	"testing"
	"time"
)

// What is counted of the last hour leaves it minute by minute, also after a long pause.
func TestWhatWasRenewedLatelyIsCounted(t *testing.T) {
	var s silence
	at := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	for n := range 90 {
		s.renew(at.Add(time.Duration(n) * time.Minute))
	}
	last := at.Add(89 * time.Minute)
	for after, want := range map[time.Duration]int{0: 60, 10 * time.Minute: 50, 59 * time.Minute: 1, time.Hour: 0, 48 * time.Hour: 0} {
		if n := s.renewedLately(last.Add(after)); n != want {
			t.Errorf("after %v there are %d, want %d", after, n, want)
		}
	}
	s.renew(last.Add(3 * time.Hour))
	if n := s.renewedLately(last.Add(3 * time.Hour)); n != 1 {
		t.Errorf("%d after a pause", n)
	}
}
