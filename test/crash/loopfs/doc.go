// Package loopfs gives a test a real file system in a file, which it can fill
// up and whose power it can cut:
//
//	fs := loopfs.Mount(t, loopfs.Options{Type: "ext4", Size: 512 << 20, Options: []string{"commit=5"}})
//	… write below fs.Dir() …
//	fs.Shutdown() // from here on nothing reaches the disk
//	… kill the writer …
//	fs.Remount()  // the journal is replayed, as after a power loss
//
// The ordering is the kernel's own. Sectors are not torn: for those, and for
// cuts at an exact operation, there is powerfs.
//
// Mount fails the test, it never skips it, where root, a loop device or mkfs is
// missing. Everything is unmounted when the test ends.
package loopfs
