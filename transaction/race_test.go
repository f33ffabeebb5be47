//go:build race

package transaction_test

// underRace makes the beginning of a process take seconds.
const underRace = true
