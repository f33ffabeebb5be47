package kv

import "context"

// Owner knows what the entries of the database are. An opening asks Admits; of the
// rest only a salvage asks, about entries of a table's block, or of a log, whose
// checksum fails. Its methods must stand any bytes, and keep none.
type Owner interface {
	// Admits is asked before an opening changes anything; an error ends it. note takes
	// the place of the one that was found, durably and before there is a commit; nil:
	// that one stays.
	Admits(ctx context.Context, c *Closed) (note []byte, err error)
	// Runs returns the runs of a value that have checksums of the owner's own:
	// each ends with the CRC-32C, little endian, of what stands before it in the
	// run. They ascend and do not overlap. Of a damaged value they are a guess,
	// which is put to the test.
	Runs(key, value []byte) []Run
	// Proves reports whether something in value says that it belongs to key, and
	// whether it may come back: such a key is written once, and it does no harm
	// where it had been deleted.
	Proves(key, value []byte) bool
}

// Run is the bytes from From up to To.
type Run struct{ From, To int }
