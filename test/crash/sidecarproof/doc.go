// Package sidecarproof holds the evidence that the sidecar keeps its promise
// to applications: everything goes through the built program and its HTTP API,
// and nothing looks into its files, but for the test that lets one of them rot
// (rot_test.go).
//
// Clients post messages, with and without idempotency keys, alone and in
// batches, and cancel some. What they were answered is kept in a journal. Then
// the power is cut (the spool lies on a powerfs mount) or the process is
// killed. A sidecar that is started on what survived must agree with the
// journal: every accepted message is known and arrives at a handler byte for
// byte, once; no cancelled one does; a retry with the same key gets the same
// message ID; nothing arrives that was not sent; the ledger balances.
//
// The same is done on ext4 and XFS in a file (loopfs): there the ordering is the
// kernel's own, and a cut comes at a number of answers, not at an operation.
//
// Clients that decide the same transactions at once have no such journal: their calls
// are a history, which has to agree with one transaction whose calls follow each other
// (dealhistory_test.go, porcupine).
// Half messages at a real broker are compared with what each client was told, and with
// what consumers of the topic can read (halfpoints_test.go).
//
// Both sides of the crash table have a test a row, in crashtable_test.go.
//
// # Small memtables
//
// The configuration has no key for the size of a memtable, and 16 MiB take a
// hundred megabytes to be rotated, flushed and compacted. So the power-loss
// runs use a sidecar that differs in one constant (1 MiB, by go build
// -overlay); the crash table and the kills use the sidecar as it is, and the
// long form repeats a power-loss run with it. What survived is always opened
// by the sidecar as it is.
//
// # Red
//
// TestPowerLossWithoutSyncs and TestRealFilesystemsLoseWhatWasNotSynced run the
// same searches on a sidecar built with remora_nosync, and fail unless they
// find accepted messages lost. defects_test.go does so with other defects, each
// a text replaced by go build -overlay. kill -9
// proves nothing about syncs, only about what is done before an answer.
//
// REMORA_TEST_LONG=1 runs the long form, a fraction something between (see
// testscale); REMORA_TEST_KEEP=DIR keeps the states
// in which something was found.
package sidecarproof
