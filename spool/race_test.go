//go:build race

package spool_test

// underRace makes hundreds of recoveries take minutes.
const underRace = true
