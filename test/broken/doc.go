// Package broken builds sidecars that differ from what ships: with a defect that a
// check has to find, with a point at which they end, with smaller files. A check
// that cannot fail proves nothing.
package broken
