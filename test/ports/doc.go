// Package ports names addresses of the loopback for what must know its port before
// it listens, or listens on it again after it died.
//
// A port that the kernel chose and that was closed again may be the next one it
// gives to anybody. These lie below what it chooses from (32768 on Linux), and
// each is claimed by a UDP socket of its number, so that of all test processes one
// has it.
package ports
