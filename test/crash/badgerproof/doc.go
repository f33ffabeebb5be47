// Package badgerproof holds the evidence that Badger, as this project sets it
// up, keeps what it acknowledged through a power cut, and that the harness
// would notice if it did not: the same run with a weaker mode must lose
// something.
//
// A writer process commits numbered records to a database on a powerfs mount
// and says after each commit how far it came. The test stops it at many file
// system operations, takes states that a disk could then hold, opens each and
// looks for every acknowledged record, byte for byte. Tables are tiny, so that
// a run rotates its log, flushes and compacts.
package badgerproof
