// Package program is what the programs of the bench have in common around what
// they measure: signals, exit codes, a folder for their files, the page at the end.
package program
