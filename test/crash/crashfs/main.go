package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/remora-mq/remora/test/crash/crashfs/control"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// options are the flags.
type options struct {
	mount, dirs, from, log string
	space                  int64
	cutAt, failSync        int
}

func parseFlags() options {
	var o options
	flag.StringVar(&o.mount, "mount", "", "mount on this empty `directory`")
	flag.StringVar(&o.dirs, "dirs", string(disk.Ext4), "`rule` of directories: ext4 or posix")
	flag.Int64Var(&o.space, "space", 0, "ENOSPC beyond so many `bytes`; 0: no limit")
	flag.StringVar(&o.from, "from", "", "start with a copy of this `directory`, all durable")
	flag.IntVar(&o.cutAt, "cut-at", 0, "cut the power in place of the `N`-th mutating operation")
	flag.IntVar(&o.failSync, "fail-sync", 0, "let the `N`-th sync fail and forget its pages")
	flag.StringVar(&o.log, "log", "", "at the end, write all mutating operations to this `file`")
	flag.Parse()
	return o
}

func main() {
	if err := run(parseFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "crashfs:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	out := newReplies(os.Stdout)
	d, err := newDisk(o, out)
	if err != nil {
		return err
	}
	if err := mount(d, o.mount); err != nil {
		return err
	}
	out.event(disk.Event{Kind: control.EventMounted})
	serveUntilTerm(d, out)
	if err := unmount(o.mount); err != nil {
		return err
	}
	return writeLog(o.log, d.History())
}

// serveUntilTerm serves until quit, the end of input, or SIGTERM. The death of
// the client must not end this process before it has unmounted: not as a
// write to a closed pipe, nor as a signal to the whole process group.
func serveUntilTerm(d *disk.Disk, out *replies) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(d, os.Stdin, out)
	}()
	select {
	case <-served:
	case <-term:
	}
	d.Cut() // lets go who is held or stalled
}

func newDisk(o options, out *replies) (*disk.Disk, error) {
	d := disk.Options{Dirs: disk.Dirs(o.dirs), Space: o.space, Notify: out.event}
	if d.Dirs != disk.Ext4 && d.Dirs != disk.Posix {
		return nil, fmt.Errorf("-dirs %q: want ext4 or posix", o.dirs)
	}
	if o.from != "" {
		from, err := disk.ReadTree(o.from)
		if err != nil {
			return nil, err
		}
		d.From = from
	}
	made := disk.New(d)
	made.CutAt(o.cutAt)
	made.FailSync(o.failSync)
	return made, nil
}

func writeLog(name string, ops []disk.Op) error {
	if name == "" {
		return nil
	}
	var text []byte
	for i, op := range ops {
		text = fmt.Appendf(text, "%d %s %s %s\n", i+1, op.Kind, op.Path, op.Detail)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}
