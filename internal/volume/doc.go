// Package volume measures the volume that holds a directory, and keeps a ballast
// on it: a file that takes room until that room is needed.
//
// Nothing here is cached; a [Space] is the answer of the moment. Functions may be
// called from any goroutine; a [Ballast] belongs to one.
package volume
