// Package peer holds what is measured beside each other: Remora, the limits of
// the disk and of HTTP on this machine, and other systems doing the same work.
//
// A Peer is started once and stays up for all rounds, as it would in service.
// Its methods are called from one goroutine; the clients that it dials each
// belong to one goroutine.
package peer
