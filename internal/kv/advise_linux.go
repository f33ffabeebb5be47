package kv

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// adviseRandom tells the kernel that the mappings of a file are written here and
// there. Else a fault in a mapping of ext4 brings in a folio of up to 64 KiB, and
// each sync writes all of it, for a record of one: 17 to 32 bytes to the device
// for each byte of small commits on Linux 6.18, and about one with the advice.
//
// Badger has no option for it, and does not tell where it maps a log. It is
// advice: where it cannot be given, nothing but speed is lost.
func adviseRandom(path string) error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close() //nolint:errcheck // it is only read
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if !strings.HasSuffix(lines.Text(), " "+path) {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); err != nil {
			return fmt.Errorf("read where %s is mapped: %w", path, err)
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_RANDOM); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}
