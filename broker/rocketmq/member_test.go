package rocketmq

import "testing"

func TestShareOfAQueue(t *testing.T) {
	const mib = 1 << 20
	for _, x := range []struct {
		prefetch int64
		queues   int
		want     int
	}{
		{0, 64, 16}, {32 * mib, 0, 16}, {32 * mib, 4, 7}, {32 * mib, 8, 3}, {32 * mib, 16, 1}, {32 * mib, 64, 1}, {mib, 1, 1}, {1 << 40, 4, 16},
	} {
		if got := queueShare(x.prefetch, x.queues); got != x.want {
			t.Errorf("%d bytes for %d queues: a threshold of %d MiB, want %d", x.prefetch, x.queues, got, x.want)
		}
	}
}
