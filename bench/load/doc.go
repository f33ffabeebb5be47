// Package load keeps a server busy in a closed loop: each connection sends its
// next message when the last one was answered. It counts the answers and
// measures how long each took.
//
// It is made to cost little beside the server: bodies are cut from one block of
// random bytes, each connection has a goroutine, a buffer and a histogram of
// its own, and nothing is allocated for a message.
package load
