// Sidecar is Remora's only binary: the sidecar itself, and the commands that
// speak to one.
//
// Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 cannot reach the
// sidecar, 4 partly done; `run` also ends with 74 when a write or a sync failed
// (restart it), 75 when another process holds the spool (try again)
// and 78 when what is stored needs another key or a newer version.
//
// One file is one command. Results are written to stdout; progress, notes and
// errors to stderr. An error says what to do next.
package main
