package disk

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
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
	for name := range strings.SplitSeq(path, "/") {
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
