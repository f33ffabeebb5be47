package disk

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// script drives a disk and fails the test at the first unexpected answer.
type script struct {
	*Disk
	t *testing.T
}

func start(t *testing.T, o Options) script {
	t.Helper()
	return script{New(o), t}
}

func (s script) ok(errno syscall.Errno) {
	s.t.Helper()
	s.want(errno, 0)
}

func (s script) want(errno, want syscall.Errno) {
	s.t.Helper()
	if errno != want {
		s.t.Fatalf("answer %v, want %v", errno, want)
	}
}

// at finds the inode of a path.
func (s script) at(path string) *Inode {
	s.t.Helper()
	n := s.Root()
	for _, name := range strings.Split(path, "/") {
		next, errno := s.Lookup(n, name)
		s.ok(errno)
		n = next
	}
	return n
}

// dir splits a path into its directory and its name.
func (s script) dir(path string) (*Inode, string) {
	s.t.Helper()
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return s.Root(), path
	}
	return s.at(path[:i]), path[i+1:]
}

func (s script) create(path, content string) *Inode {
	s.t.Helper()
	p, name := s.dir(path)
	n, errno := s.Create(p, name, 0o600)
	s.ok(errno)
	s.ok(s.Write(n, []byte(content), 0))
	return n
}

func (s script) mkdir(path string) *Inode {
	s.t.Helper()
	p, name := s.dir(path)
	n, errno := s.Mkdir(p, name, 0o700)
	s.ok(errno)
	return n
}

func (s script) rename(from, to string) {
	s.t.Helper()
	p, name := s.dir(from)
	q, newName := s.dir(to)
	s.ok(s.Rename(p, name, q, newName, 0))
}

func (s script) unlink(path string) {
	s.t.Helper()
	p, name := s.dir(path)
	s.ok(s.Unlink(p, name))
}

// list renders a tree as "a=content b/ b/c=content".
func list(t *Tree) string {
	var lines []string
	var walk func(string, *Tree)
	walk = func(prefix string, t *Tree) {
		for _, name := range slices.Sorted(maps.Keys(t.Entries)) {
			e := t.Entries[name]
			if e.Entries != nil {
				lines = append(lines, prefix+name+"/")
				walk(prefix+name+"/", e)
				continue
			}
			lines = append(lines, prefix+name+"="+string(e.Bytes()))
		}
	}
	walk("", t)
	return strings.Join(lines, " ")
}

func (s script) survives(v Survivors, want string) {
	s.t.Helper()
	if got := list(s.Survive(v)); got != want {
		s.t.Errorf("%v leaves %q, want %q", v, got, want)
	}
}

// reachable collects what 200 random crashes leave.
func (s script) reachable() map[string]bool {
	states := map[string]bool{}
	for seed := range uint64(200) {
		states[list(s.Survive(Random(seed)))] = true
	}
	return states
}

func TestUnsyncedBytesVanish(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "old")
	s.ok(s.Sync(f, true))
	s.ok(s.Write(f, []byte("new"), 0))
	s.survives(None, "a=old")
	s.survives(All, "a=new")
	s.survives(View, "a=new")
	s.ok(s.Sync(f, true))
	s.survives(None, "a=new")
}

func TestEntryNeedsSync(t *testing.T) {
	for _, c := range []struct {
		dirs      Dirs
		afterFile string
	}{
		{Ext4, "a=x"},
		{Posix, ""},
	} {
		t.Run(string(c.dirs), func(t *testing.T) {
			s := start(t, Options{Dirs: c.dirs})
			f := s.create("a", "x")
			s.survives(None, "")
			s.ok(s.Sync(f, true))
			s.survives(None, c.afterFile)
			s.ok(s.SyncDir(s.Root()))
			s.survives(None, "a=x")
		})
	}
}

func TestDirectoryOfANewFile(t *testing.T) {
	s := start(t, Options{Dirs: Ext4})
	s.mkdir("d")
	s.ok(s.Sync(s.create("d/a", "x"), true))
	s.survives(None, "d/ d/a=x")

	s = start(t, Options{Dirs: Posix})
	d := s.mkdir("d")
	s.ok(s.Sync(s.create("d/a", "x"), true))
	s.ok(s.SyncDir(d))
	s.survives(None, "")
	s.ok(s.SyncDir(s.Root()))
	s.survives(None, "d/ d/a=x")
}

// renamed is a disk with a durable file a that was renamed to b.
func renamed(t *testing.T, dirs Dirs) script {
	s := start(t, Options{Dirs: dirs})
	s.ok(s.Sync(s.create("a", "x"), false))
	s.ok(s.SyncDir(s.Root()))
	s.rename("a", "b")
	return s
}

func TestRename(t *testing.T) {
	for _, c := range []struct {
		name string
		dirs Dirs
		sync func(script)
		want string
	}{
		{"posix, nothing", Posix, func(script) {}, "a=x"},
		{"posix, file", Posix, func(s script) { s.ok(s.Sync(s.at("b"), false)) }, "a=x"},
		{"posix, directory", Posix, func(s script) { s.ok(s.SyncDir(s.Root())) }, "b=x"},
		{"ext4, nothing", Ext4, func(script) {}, "a=x"},
		{"ext4, file's data", Ext4, func(s script) { s.ok(s.Sync(s.at("b"), true)) }, "a=x"},
		{"ext4, file", Ext4, func(s script) { s.ok(s.Sync(s.at("b"), false)) }, "b=x"},
		{"ext4, directory", Ext4, func(s script) { s.ok(s.SyncDir(s.Root())) }, "b=x"},
		{"ext4, a later file", Ext4, func(s script) {
			s.ok(s.Sync(s.create("c", ""), true))
		}, "b=x c="},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := renamed(t, c.dirs)
			c.sync(s)
			s.survives(None, c.want)
		})
	}
}

func TestRenameSurvivesWholeOnlyInAJournal(t *testing.T) {
	s := renamed(t, Ext4)
	if got, want := s.reachable(), (map[string]bool{"a=x": true, "b=x": true}); !maps.Equal(got, want) {
		t.Errorf("ext4 reaches %v, want %v", got, want)
	}
	s = renamed(t, Posix)
	want := map[string]bool{"a=x": true, "b=x": true, "": true, "a=x b=x": true}
	if got := s.reachable(); !maps.Equal(got, want) {
		t.Errorf("posix reaches %v, want %v", got, want)
	}
}

func TestJournalSurvivesAsAPrefix(t *testing.T) {
	s := start(t, Options{})
	for _, name := range []string{"a", "b", "c"} {
		_, errno := s.Create(s.Root(), name, 0o600)
		s.ok(errno)
	}
	s.unlink("a")
	want := map[string]bool{"": true, "a=": true, "a= b=": true, "a= b= c=": true, "b= c=": true}
	if got := s.reachable(); !maps.Equal(got, want) {
		t.Errorf("reaches %v, want %v", got, want)
	}
}

func TestTruncate(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "0123456789")
	s.ok(s.Sync(f, true))
	s.ok(s.Resize(f, 4))
	s.ok(s.Resize(f, 6))
	s.survives(None, "a=0123456789")
	s.survives(All, "a=0123\x00\x00")
	states := s.reachable()
	if !states["a=0123"] || len(states) != 3 {
		t.Errorf("reaches %v, want three states", states)
	}
	s.ok(s.Sync(s.create("b", ""), true)) // commits the journal up to itself
	s.survives(None, "a=0123\x00\x00 b=")
}

func TestWriteAfterALostTruncateIsLost(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "old")
	s.ok(s.Sync(f, true))
	s.ok(s.Resize(f, 0))
	s.ok(s.Write(f, []byte("n"), 0))
	for state := range s.reachable() {
		if state != "a=old" && state != "a=" && state != "a=n" && state != "a=\x00" {
			t.Errorf("reaches %q", state)
		}
	}
}

func TestPagesSurviveInAnyOrder(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "")
	s.ok(s.Sync(f, true))
	s.ok(s.Write(f, bytes.Repeat([]byte("1"), PageSize), 0))
	s.ok(s.Write(f, bytes.Repeat([]byte("2"), PageSize), PageSize))
	var lostFirst, torn bool
	for seed := range uint64(100) {
		b := s.Survive(Random(seed)).Entries["a"].Bytes()
		ones, twos := bytes.Count(b, []byte("1")), bytes.Count(b, []byte("2"))
		lostFirst = lostFirst || ones == 0 && twos == PageSize
		torn = torn || ones > 0 && ones < PageSize
		if ones%sectorSize != 0 || twos%sectorSize != 0 {
			t.Fatalf("seed %d tears a sector", seed)
		}
	}
	if !lostFirst || !torn {
		t.Errorf("100 seeds: first page lost alone %t, a page torn %t", lostFirst, torn)
	}
}

func TestSameSeedSameState(t *testing.T) {
	s := start(t, Options{Dirs: Posix})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		s.create(name, name)
	}
	s.Cut()
	for seed := range uint64(50) {
		if a, b := list(s.Survive(Random(seed))), list(s.Survive(Random(seed))); a != b {
			t.Fatalf("seed %d leaves %q, then %q", seed, a, b)
		}
	}
	if n := len(s.reachable()); n < 20 {
		t.Errorf("200 seeds reach only %d states", n)
	}
}

func TestFailedSyncForgetsPages(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "old")
	s.ok(s.Sync(f, true))
	s.FailSync(2)
	s.ok(s.Sync(f, true))
	s.ok(s.Write(f, []byte("new"), 0))
	s.want(s.Sync(f, true), syscall.EIO)
	s.ok(s.Sync(f, true))
	s.survives(View, "a=new")
	s.survives(None, "a=old")
	s.survives(All, "a=old")
	s.ok(s.Write(f, []byte("N"), 0)) // dirty again, the page is written whole
	s.ok(s.Sync(f, true))
	s.survives(None, "a=New")
}

func TestFailedSyncCommitsNoName(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "x")
	s.FailSync(2)
	s.ok(s.SyncDir(s.Root()))
	s.rename("a", "b")
	s.want(s.SyncDir(s.Root()), syscall.EIO)
	s.survives(None, "a=")
	s.ok(s.Sync(f, false))
	s.survives(None, "b=x")
}

func TestNoSpace(t *testing.T) {
	s := start(t, Options{Space: 3 * PageSize})
	f := s.create("a", "x")
	s.ok(s.Allocate(f, 0, 2*PageSize, true))
	g := s.create("b", "y")
	s.want(s.Write(g, []byte("z"), PageSize), syscall.ENOSPC)
	s.want(s.Allocate(g, 0, 2*PageSize, true), syscall.ENOSPC)
	s.ok(s.Write(f, []byte("z"), PageSize)) // reserved
	s.unlink("a")
	s.want(s.Write(g, []byte("z"), PageSize), syscall.ENOSPC) // a is still open
	s.Close(f)
	s.ok(s.Write(g, []byte("z"), PageSize))
	s.SetSpace(PageSize)
	s.want(s.Write(g, []byte("z"), 2*PageSize), syscall.ENOSPC)
	s.ok(s.Resize(g, 0))
	if used, limit := s.Usage(); used != 0 || limit != PageSize {
		t.Errorf("uses %d of %d, want 0 of %d", used, limit, PageSize)
	}
}

func TestAllocateKeepsSize(t *testing.T) {
	s := start(t, Options{})
	f := s.create("a", "x")
	s.ok(s.Allocate(f, 0, 3*PageSize, true))
	s.ok(s.Sync(f, false))
	s.survives(None, "a=x")
	s.ok(s.Allocate(f, 0, 2, false))
	s.ok(s.Sync(f, false))
	s.survives(None, "a=x\x00")
	if a, _ := s.Stat(f); a.Pages != 3 || a.Size != 2 {
		t.Errorf("pages %d size %d, want 3 and 2", a.Pages, a.Size)
	}
}

func TestNamesOfDirectories(t *testing.T) {
	s := start(t, Options{})
	s.mkdir("d")
	s.mkdir("d/e")
	s.create("d/e/a", "x")
	s.mkdir("f")
	s.want(s.Rmdir(s.Root(), "d"), syscall.ENOTEMPTY)
	s.want(s.Unlink(s.Root(), "d"), syscall.EISDIR)
	s.want(s.Rename(s.Root(), "f", s.Root(), "d", 0), syscall.ENOTEMPTY)
	s.want(s.Rename(s.Root(), "f", s.Root(), "d", RenameNoReplace), syscall.EEXIST)
	s.ok(s.Rename(s.Root(), "f", s.Root(), "d", RenameExchange))
	s.survives(View, "d/ f/ f/e/ f/e/a=x")
	s.rename("f/e", "d")
	s.survives(View, "d/ d/a=x f/")
	s.ok(s.Rmdir(s.Root(), "f"))
	s.survives(View, "d/ d/a=x")
	s.ok(s.Sync(s.at("d/a"), false))
	s.survives(None, "d/ d/e/ d/e/a=x") // nothing after its creation touched a
	s.ok(s.SyncDir(s.at("d")))
	s.survives(None, "d/ d/a=x f/")
}

func TestRenameReplacesAtomically(t *testing.T) {
	for _, dirs := range []Dirs{Ext4, Posix} {
		s := start(t, Options{Dirs: dirs})
		s.ok(s.Sync(s.create("cur", "1"), false))
		s.ok(s.Sync(s.create("new", "2"), false))
		s.ok(s.SyncDir(s.Root()))
		s.rename("new", "cur")
		for state := range s.reachable() {
			if !strings.HasPrefix(state, "cur=1") && !strings.HasPrefix(state, "cur=2") {
				t.Errorf("%s reaches %q", dirs, state)
			}
		}
	}
}

func TestCutAt(t *testing.T) {
	var events []string
	s := start(t, Options{Notify: func(ev string) { events = append(events, ev) }})
	f := s.create("a", "x") // two operations
	s.CutAt(2)
	s.ok(s.Sync(f, true))
	s.want(s.Write(f, []byte("y"), 0), syscall.EIO)
	_, errno := s.Read(f, make([]byte, 1), 0)
	s.want(errno, syscall.EIO)
	s.want(s.Sync(f, true), syscall.EIO)
	s.survives(All, "a=x")
	ops := s.History()
	if len(ops) != 4 || ops[3] != (Op{"write", "a", "0+1"}) {
		t.Errorf("history %v, want the refused write as the fourth", ops)
	}
	if !slices.Equal(events, []string{EventCut}) {
		t.Errorf("events %v", events)
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := 0
		s := start(t, Options{Notify: func(string) { held++ }})
		f := s.create("a", "x")
		s.HoldAt(1)
		synced := make(chan syscall.Errno, 1)
		go func() { synced <- s.Sync(f, true) }()
		synctest.Wait()
		s.survives(None, "")
		s.Resume(1)
		s.ok(<-synced)
		s.survives(None, "a=x")
		go func() { synced <- s.Write(f, []byte("y"), 0) }()
		synctest.Wait()
		s.survives(All, "a=x")
		s.Cut()
		s.want(<-synced, syscall.EIO)
		s.survives(All, "a=x")
		if held != 3 {
			t.Errorf("%d events, want held, held, cut", held)
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Options{})
		f := s.create("a", "x")
		s.Stall(time.Minute)
		began := time.Now()
		s.ok(s.Sync(f, true))
		if d := time.Since(began); d != time.Minute {
			t.Errorf("sync took %v, want a minute", d)
		}
		synced := make(chan syscall.Errno, 1)
		go func() { synced <- s.Sync(f, true) }()
		synctest.Wait()
		s.Stall(0)
		s.ok(<-synced)
		if d := time.Since(began); d != time.Minute {
			t.Errorf("the released sync took %v", d-time.Minute)
		}
	})
}

func TestTreeThroughAPlainDirectory(t *testing.T) {
	s := start(t, Options{})
	s.mkdir("d")
	f := s.create("d/a", "x")
	s.ok(s.Write(f, []byte("end"), 3*PageSize+7))
	s.ok(s.Modify(f, func(a *Attr) { a.Mode = 0o400 }))
	want := s.Survive(All)
	dir := t.TempDir() + "/state"
	if err := want.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list(got) != list(want) || got.Entries["d"].Entries["a"].Mode != 0o400 {
		t.Error("the tree changed on its way through a directory")
	}
	again := start(t, Options{From: got, Space: 2 * PageSize})
	again.survives(None, list(want))
	again.want(again.Write(again.at("d/a"), []byte("x"), PageSize), syscall.ENOSPC)
}

func TestParseSurvivors(t *testing.T) {
	for _, s := range []Survivors{None, All, View, Random(7)} {
		if got, err := ParseSurvivors(s.String()); err != nil || got != s {
			t.Errorf("ParseSurvivors(%q) = %v, %v", s, got, err)
		}
	}
	for _, text := range []string{"", "7", "random", "random:", "random:-1"} {
		if got, err := ParseSurvivors(text); err == nil {
			t.Errorf("ParseSurvivors(%q) = %v, want an error", text, got)
		}
	}
}
