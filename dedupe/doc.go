// Package dedupe is the contract of the stores that keep a handler from being
// called twice for one effect. A mark has two phases: in progress, with a
// lease and a count of attempts, written before the handler is called; and
// done, written after its 200 and before the broker is acked.
//
// Only done, with the same scope, key and fingerprint, is a repeat. A store
// that fails never makes a message a repeat, and nothing is marked done before
// the 200. Backends: local (the sidecar's own Badger), redis and sql (which several
// sidecars share); every one passes the suite in dedupetest.
package dedupe
