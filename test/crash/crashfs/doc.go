// Command crashfs mounts a file system that can lose its power: it keeps in
// memory what was synced and what was not, and writes the state that a real
// disk could hold after a power cut into a plain directory. Package disk has
// the model, package control the protocol on standard input and output;
// package powerfs is the client for tests.
//
//	crashfs -mount DIR [-dirs ext4|posix] [-space BYTES] [-from DIR]
//	        [-cut-at N] [-fail-sync N] [-log FILE]
//
// It needs /dev/fuse and the right to mount (root). The program under test must
// be another process: one that maps its own file system's pages can wait for
// itself for ever.
//
// What differs from a file system of the kernel: write(2) arrives at once and
// a mapping's pages at msync or when the kernel likes, in pieces of up to 128
// KiB, each one operation. A full disk is met by a mapping as ENOSPC at msync,
// not as SIGBUS at the store. flock and POSIX locks work, by the kernel.
package main
