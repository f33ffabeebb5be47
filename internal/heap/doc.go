// Package heap fits Go's collector to a process that is paid for beside every
// application: it collects earlier than by default, and gives memory back when
// a burst is over. GOGC and GOMEMLIMIT keep their meaning.
package heap
