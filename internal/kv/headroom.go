package kv

// Headroom is the free space, in bytes, that a database may take after the last
// message was accepted: for the flush of what is in memory, the compactions that
// are under way or follow, the deletions and receipts of a drain, and for
// opening it again. Its logs have their blocks already (nextlog.go). Below it a
// volume must not be given more, because Badger meets a full disk in a mapping,
// which ends the process.
//
// A compaction of more than compacted bytes takes more: RewriteRoom.
//
// docs/adr/0012 has the measurements: at most 117 MiB with memtables of 1 MiB, and
// 127 MiB with 16 MiB, twice the default. Zero is the default size of a memtable.
func Headroom(memTableSize int64) int64 {
	o := Options{MemTableSize: memTableSize}.withDefaults()
	return 4*o.MemTableSize + 128<<20
}

// LogRoom is what the log in use and the prepared one take on the volume.
func LogRoom(memTableSize int64) int64 {
	return 2 * Options{MemTableSize: memTableSize}.withDefaults().logRoom()
}

// compacted is how much of the headroom is for compactions.
const compacted = 96 << 20

// RewriteRoom is the free space, in bytes, that compactions may take besides the
// headroom, where tables take so many. A compaction writes all that it makes before it
// removes anything, and Badger merges a table with all that lie between its first key
// and its last on the level beneath: one that ends a kind of keys and begins another
// may reach over a whole backlog (docs/adr/0043).
func RewriteRoom(tables int64) int64 { return max(tables-compacted, 0) }
