// Package lifecycle ends things in a declared order.
//
// Steps is a shutdown written as a list: what is stopped, in which order and
// how long each may take. The order is data, so a test can read it. A step
// that fails or runs out of time does not keep the later ones from running:
// the last ones close files and release locks.
//
// Steps owns no goroutine beyond a running step. A step that ignores its
// context is abandoned when its time is over, and said so; its goroutine ends
// when its Do returns or with the process.
package lifecycle
