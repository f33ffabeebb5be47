// Package archtest holds the shape of the house: which package may import
// which, where a library is confined, and that every package says what it is.
//
// It has tests only. A new package gets its room in rooms_test.go; until then
// the test fails and says so. The rules are functions over a list of packages,
// so that each is also shown houses that break it.
package archtest
