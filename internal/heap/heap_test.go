package heap

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"weak"
)

func TestOneEndForEachBurst(t *testing.T) {
	w, now := watch{}, uint64(0)
	var got []int
	for i, mib := range []uint64{100, 3, 3, 3, 3, 3, 50, 3, 3, 20, 1, 1, 1, 1} {
		now += mib << 20
		if w.over(now) {
			got = append(got, i)
		}
	}
	if want := []int{4, 13}; !slices.Equal(got, want) {
		t.Errorf("ends at %v, want %v", got, want)
	}
}

func TestGOGCHasTheLastWord(t *testing.T) {
	for text, want := range map[string]int{"": percent, "100": 100} {
		t.Setenv("GOGC", text)
		before := debug.SetGCPercent(100)
		Bound()
		if got := debug.SetGCPercent(before); got != want {
			t.Errorf("with GOGC=%q: %d, want %d", text, got, want)
		}
	}
}

func TestAllocationsAreSeen(t *testing.T) {
	before := allocated()
	room := make([]byte, busy)
	if after := allocated(); after-before < busy {
		t.Errorf("%d bytes were seen of %d", after-before, len(room))
	}
}

// TestPoolsAreEmptied leaves a buffer in a pool, as a connection does that was closed.
func TestPoolsAreEmptied(t *testing.T) {
	var pool sync.Pool
	buffer := new([1 << 10]byte)
	left := weak.Make(buffer)
	pool.Put(buffer)
	giveBack()
	if left.Value() != nil {
		t.Error("it is there yet")
	}
	runtime.KeepAlive(&pool)
}
