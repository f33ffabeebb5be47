//go:build race

package spool_test

// underRace makes hundreds of recoveries, and thousands of reads, take minutes.
const underRace = true
