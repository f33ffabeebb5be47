// Package wire has what the answers of all listeners write in the same form: times, and
// what happened to a message.
package wire
