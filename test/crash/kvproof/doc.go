// Package kvproof holds the evidence that internal/kv keeps its word after a
// sync that failed.
//
// The pages of a failed sync are clean but not on the disk: whoever reads them
// back after a restart, and answers a retry with what was read, promises what
// a power cut takes away. A writer process runs into a failed sync on a powerfs
// mount; a second one, on the same mount, answers the retry of the record that
// failed; then the power goes, and everything either of them answered must be
// there. The same writer built without the rewrite after an unclean stop
// (build tag remora_norewrite) must lose something.
package kvproof
