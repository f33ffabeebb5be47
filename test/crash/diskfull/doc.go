// Package diskfull fills the disk under a sidecar, by its own messages and by
// somebody else's files, and proves that a full disk costs refusals and nothing
// that was accepted.
//
// Everything goes through the built program and its HTTP API, on a small ext4 in
// a file, mounted through a loop device; so the tests need root. Where they do
// not have it they fail, and say what to do.
//
// What must hold: nothing that was answered with 202 is missing at the handler,
// or has other bytes; what was refused said so, with stored false; a process
// that died of a disk that others filled (SIGBUS) is up at its next start;
// accepting resumes without a restart when there is room.
//
// REMORA_TEST_LONG chooses how long they run: see internal/testscale.
package diskfull
