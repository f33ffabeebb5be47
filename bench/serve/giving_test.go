package serve

import (
	"testing"
	"time"
)

// TestSpaceIsGivenBackWhenItIsQuiet asks once a second, as of a spool that is
// filled, drained, and then left alone.
func TestSpaceIsGivenBackWhenItIsQuiet(t *testing.T) {
	const mib = 1 << 20
	var g giver
	at := func(second int) time.Time { return time.Unix(1000+int64(second), 0) }
	for i, tt := range []struct {
		wrote, held uint64
		want        bool
	}{
		{100 * mib, 90 * mib, false}, // it is filled
		{100 * mib, 90 * mib, false}, {100 * mib, 90 * mib, false}, {100 * mib, 90 * mib, false},
		{100 * mib, 90 * mib, false}, {100 * mib, 90 * mib, false}, // quiet, but much is held
		{110 * mib, 0, false},                                               // it is drained
		{111 * mib, 0, false}, {112 * mib, 0, false}, {112 * mib, 0, false}, // a mebibyte a second is little
		{112 * mib, 0, false}, {112 * mib, 0, true},
	} {
		if got := g.due(at(i), tt.wrote, tt.held); got != tt.want {
			t.Errorf("second %d: %v, want %v", i, got, tt.want)
		}
	}
	g.given(130 * mib)
	if g.due(at(60), 130*mib+givenFor-1, 0) || g.due(at(70), 130*mib+givenFor-1, 0) {
		t.Error("it is given back again for little")
	}
	if !g.due(at(80), 130*mib+givenFor, 0) {
		t.Error("it is not given back again")
	}
}
