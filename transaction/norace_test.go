//go:build !race

package transaction_test

const underRace = false
