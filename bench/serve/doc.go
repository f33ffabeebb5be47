// Package serve is the servers that are measured, run in a process of their
// own: Remora's data listener over a real spool, drained by a forwarder into a
// broker that confirms at once; and the same listener over nothing.
//
// It assembles what the sidecar assembles, with the same defaults. It speaks
// to its parent by JSON lines on standard output: a Hello when it listens, an
// Account when it has drained and closed.
package serve
