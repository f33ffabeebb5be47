package rocketmq

import "testing"

func TestBlocksDoNotOverlap(t *testing.T) {
	used := map[int]bool{}
	for range 50 {
		b, err := claimPorts()
		must(t, err)
		defer b.release()
		if b.fast != b.main-2 {
			t.Errorf("fast port %d, but the broker will take %d", b.fast, b.main-2)
		}
		for _, port := range []int{b.fast, b.main, b.ha} {
			if used[port] {
				t.Errorf("port %d is given out twice", port)
			}
			used[port] = true
		}
	}
}

func TestBlockWithOneBusyPortIsRefused(t *testing.T) {
	b, err := claimPorts()
	must(t, err)
	base := b.fast - 1
	for _, busy := range []int{b.fast, b.main, b.ha} {
		must(t, b.release())
		l, err := listen(busy)
		must(t, err)
		if other, err := claimBlock(base); err == nil {
			t.Errorf("block %d was given although port %d is busy", base, busy)
			other.release()
		}
		must(t, l.Close())
	}
}
