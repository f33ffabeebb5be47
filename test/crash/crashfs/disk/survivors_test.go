package disk

import (
	"bytes"
	"syscall"
	"testing"
)

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
