package kv

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// birth identifies a file, not only its name: inode and time of creation.
func birth(t *testing.T, path string) string {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d@%d.%d", st.Ino, st.Btime.Sec, st.Btime.Nsec)
}
