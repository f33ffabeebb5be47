package push

import "golang.org/x/sys/unix"

// acked is how many bytes the peer's kernel has acknowledged so far.
func (w *wire) acked() (n uint64, known bool) {
	_ = w.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n, known = info.Bytes_acked, true
		}
	})
	return n, known
}
