//go:build !linux

package peer

import "os"

func fdatasync(f *os.File) error { return f.Sync() }
