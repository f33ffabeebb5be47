// Package built runs the sidecar as it was built, in a process of its own, and
// reads what it says of itself.
//
// A Sidecar may be used by many goroutines; one ends it.
package built
