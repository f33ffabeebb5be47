// Package disk models a file system whose power can be cut after any
// operation, and says what a real one could then still hold. It is in memory
// and knows nothing of FUSE; crashfs mounts it.
//
// # The model
//
// Every file and directory has two states: what the program sees (now) and
// what its last sync made durable (disk), plus the ordered list of changes in
// between. A crash state starts from the durable one and replays a choice of
// those changes:
//
//   - A written 4 KiB page survives or is lost by itself, in any order (a lost
//     page that grew the file may leave zeros behind it). Now and then a page
//     is torn: each 512-byte sector is the old or the new one. Consecutive
//     writes into one page count as one.
//   - A change of size by truncate survives in order within its file, and what
//     was written after a lost one is lost with it.
//   - A change of a directory survives as [Dirs] says.
//   - Sync of a file makes its data and size durable, and nothing else does.
//
// [Ext4] is the model of journalling file systems (ext4, XFS): all changes of
// names and sizes form one journal, of which a prefix survives, a rename whole.
// Syncing a file or directory commits the journal up to the last change that
// touched it, so a new file needs no sync of its directory. A data-only sync
// (fdatasync, msync) does not wait for the file's renames. The real ones
// often commit more; the model promises only this much. Heuristics such as
// auto_da_alloc are left out.
//
// [Posix] is the letter of the standard: an entry is durable only after fsync
// of its directory, entries survive independently of each other, and a rename
// may come apart into two names or none.
//
// [Survivors] chooses: none of what was not synced, all of it, or a seeded
// random part. View is no crash state: it is what the program sees, hence what
// a restart without a power cut would find.
//
// # Faults
//
// A sync told to fail answers EIO and forgets that the file's pages were
// written: they stay visible, but no later sync writes them (what Linux does
// after a failed writeback). Syncs can be stalled. Beyond Options.Space writes
// answer ENOSPC. The cut refuses every later call with EIO.
//
// Not modelled: permissions, owners and times (they take effect at once), hard
// and symbolic links, extended attributes, rot. Pages that a mapping dirtied
// and the kernel has not yet written are unknown here, so they are lost even
// under All.
//
// All methods are safe for concurrent use; one lock gives operations their
// order.
package disk
