package spool

import (
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// sizes are the bounds in bytes that follow from those of the database: what is
// declared for an operation (kv.Queue.Commit) has to be an upper bound of what
// it writes, and fit into one commit.
type sizes struct {
	block  int // one entry of records
	chunk  int // of a payload stored apart
	inline int // largest payload kept in its record
	unit   int // payloads of one Append; above it only small ones stay inline
	op     int // operations that could be larger are split

	bindings int // of a topic, in their entry, which is one value
}

// sizesFor stays far below Badger's value threshold of 1 MiB: above it a value
// goes to the value log, whose failed syncs are only logged (badger/v4 value.go).
// A block is bounded before it is encrypted: the smallest records more than double,
// but a commit has no room for a whole block of those.
func sizesFor(db *store) sizes {
	return sizes{
		block:  min(kv.BlockSize-blockFrame, db.MaxValue()/2),
		chunk:  min(128<<10, db.MaxCommit()/2),
		inline: min(64<<10, db.MaxCommit()/4),
		unit:   min(256<<10, db.MaxCommit()/4),
		op:     db.MaxCommit() / 4,

		bindings: min(db.MaxValue(), db.MaxCommit()) - fixedSize - valueOverhead,
	}
}

// messageRoom is the most that a message of a unit takes in its commit, whatever
// it carries: names of full length, a dedupe key, a TTL, a delay, and a payload that
// is as large as one may be that stays in its record, with lengths that take more
// than a byte. Without a delay the TTL has its entry in the index, which is smaller.
// One that is stored apart takes less, but for its chunks.
const messageRoom = 64 + recordOverhead + 3*7 + message.MaxTopic + message.MaxShort + inlineSmall + inlineSmall>>7 + keyBytes + ttlBytes + delayRoom

// MostMessages is how many messages of one topic, and of bytes together, an Append
// can always make durable at once, when commits have at most maxCommit bytes: what
// it is given is all or nothing. Messages of many topics may be refused earlier,
// with ErrTooLarge.
func MostMessages(maxCommit int, bytes int64) int {
	chunks := int(min(bytes/int64(min(128<<10, maxCommit/2)), int64(maxCommit))) + 1
	return max(1, (maxCommit-fixedSize-topicSize-chunks*deleteSize)/messageRoom)
}

const (
	// blockFrame leaves room for what a table's block holds besides the value:
	// headers, the key, the value's frame, offset and checksum.
	blockFrame = 4 << 10
	// fixedSize bounds what any operation may cause besides its own: the head,
	// and the entry, block and index of one topic, encrypted.
	fixedSize = 768
	// topicSize bounds entry, block and index of one more topic.
	topicSize = 512
	// deleteSize is what the deletion of an entry counts for: its key, and its
	// share of the entries that a commit may have.
	deleteSize = 48
)
