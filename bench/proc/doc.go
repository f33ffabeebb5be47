// Package proc runs child processes and reads what they cost: processor time,
// bytes written, anonymous memory. The costs are Linux's /proc; elsewhere
// reading them is an error.
//
// A Process is started and reaped by one goroutine; its methods may be called
// from any.
package proc
