package disk

import (
	"maps"
	"strings"
	"syscall"
	"testing"
)

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
