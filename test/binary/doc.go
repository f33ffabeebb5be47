// Package binary runs the built sidecar as a child process of a test, with a
// configuration and files of its own, through any number of kills and starts.
//
// The program is built into .build of the checkout; REMORA_E2E_BINARY names
// another one, for example of a tree that was broken on purpose.
//
// No child outlives the test process. The log of a test that failed is kept,
// with the stacks of all goroutines, and the test says where.
//
// All methods may be called from many goroutines; those that start and end a
// sidecar take turns by themselves only if their callers do.
package binary
