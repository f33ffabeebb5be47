// Package powerfs gives a test a directory whose power it can cut. The
// directory is a crashfs mount (package disk has the model), served by a
// process of its own:
//
//	fs := powerfs.Mount(t, powerfs.Options{})
//	fs.Start(exec.Command(writer, fs.Dir()))
//	… count what the writer says is durable …
//	for _, dir := range fs.Cut(disk.None, disk.All, disk.Random(1)) {
//		… open dir: everything counted must be there …
//	}
//
// One run can yield many states: HoldAt and Resume stop the writer at any
// operation, Survive writes the states of that moment, and the writer goes on.
// While an operation is held, and after the cut, no sync can succeed: what the
// writer has acknowledged by then, however late the test reads it, must be in
// the states taken.
//
// The writer must be another process than the test (a page fault of a mapping
// is served by crashfs, but it stops a whole Go thread; held, it stops the
// test). A test that reads the mount itself must not do so while it is held.
//
// Mount fails the test, it never skips it, where /dev/fuse or the right to
// mount is missing. Everything is unmounted when the test ends, and when its
// process dies. The methods of FS fail the test, so they belong to its goroutine.
package powerfs
