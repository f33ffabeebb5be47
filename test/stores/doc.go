// Package stores proves what sidecars of one group owe when they share a dedupe
// store: on the real servers, while these are killed, and through the composition
// that `sidecar run` has.
package stores
