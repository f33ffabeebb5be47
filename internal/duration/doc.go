// Package duration reads how long something is to last, as people write it in a
// configuration, a header and a flag, so that all of them take the same.
package duration
