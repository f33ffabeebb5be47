package serve

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// TestSpaceIsGivenBackWhenItIsQuiet asks once a second, as of a spool that is
// filled, drained, and then left alone.
func TestSpaceIsGivenBackWhenItIsQuiet(t *testing.T) {
	const mib = 1 << 20
	logs := uint64(kv.LogRoom(0))
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
		if got := g.due(at(i), sizes{tt.wrote, tt.held, 100*mib + logs}); got != tt.want {
			t.Errorf("second %d: %v, want %v", i, got, tt.want)
		}
	}
	g.given(sizes{112 * mib, 0, 100*mib + logs}, sizes{130 * mib, 0, 10*mib + logs})
	if g.due(at(60), sizes{130 * mib, 0, 10*mib + givenFor - 1 + logs}) || g.due(at(70), sizes{130 * mib, 0, 10*mib + givenFor - 1 + logs}) {
		t.Error("it is given back again for little")
	}
	if !g.due(at(80), sizes{130 * mib, 0, 10*mib + givenFor + logs}) {
		t.Error("it is not given back again")
	}
}

// TestWhatIsSettledMeanwhileIsGivenBack: a slow drain goes on while space is given back,
// and writes little.
func TestWhatIsSettledMeanwhileIsGivenBack(t *testing.T) {
	const mib = 1 << 20
	logs := uint64(kv.LogRoom(0))
	var g giver
	g.given(sizes{wrote: 500 * mib, held: 60 * mib, used: 900*mib + logs}, sizes{wrote: 510 * mib, used: 80*mib + logs})
	if g.due(time.Unix(1000, 0), sizes{wrote: 510 * mib, used: 80*mib + logs}) {
		t.Error("it is given back for less than makes it worth it")
	}
	if !g.due(time.Unix(1010, 0), sizes{wrote: 511 * mib, used: 85*mib + logs}) {
		t.Error("what was settled meanwhile is not given back")
	}
}
