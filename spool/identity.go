package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// identityFile stands beside the database. Its device and inode tell a spool
// from its copy: a cloned or restored volume takes a new spool ID, so that two
// spools never issue the same message ID.
const identityFile = "spool.id"

// place returns device and inode of the identity file, making it when missing.
func place(dir string) (device, inode uint64, err error) {
	path := filepath.Join(dir, identityFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case err == nil:
		err = errors.Join(f.Sync(), f.Close(), kv.SyncDir(dir))
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("make identity file: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, fmt.Errorf("read identity file: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("read identity file: this system has no inodes")
	}
	return st.Dev, st.Ino, nil
}

// nextLife prepares the head for this opening: the next epoch, and a new spool
// ID when there was none, the volume is another, or the epochs are used up.
func (h *head) nextLife(device, inode uint64) {
	fresh := h.spoolID == message.SpoolID{} || h.device != device || h.inode != inode || h.epoch >= message.MaxEpoch
	h.device, h.inode = device, inode
	h.epoch++
	if fresh {
		h.newIdentity()
	}
}

// afterDamage takes a new spool ID, once for each damage of the database: its
// end may be lost, or an older version of an entry have come back, and with that
// go the numbers that messages were given.
func (h *head) afterDamage(found *kv.Damage) {
	if found == nil {
		return
	}
	sum := fnv.New64a()
	fmt.Fprint(sum, found.At, found.Quarantine)
	if h.damage != sum.Sum64() {
		h.damage = sum.Sum64()
		h.newIdentity()
	}
}

// newIdentity draws a spool ID; epochs may then begin again.
func (h *head) newIdentity() {
	_, _ = rand.Read(h.spoolID[:]) // never fails: crypto/rand.Read documents it
	h.epoch = 1
}
