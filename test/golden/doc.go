// Package golden keeps a data directory of each version of the format, as that
// version wrote it: with everything in it that a spool can hold, plain and closed
// in order, and encrypted and left as by kill -9. The test opens each with the
// program of now and compares all that can be asked of it with what was known
// when it was written. After that it has to work like any other.
//
// When spool.Format or kv.Layout is raised, the directories of the new one are written
// by
//
//	go test ./test/golden -update
//
// which leaves those of older versions alone: they are never written again.
package golden
