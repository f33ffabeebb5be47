package disk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Survivors names which unsynced changes a crash state contains. Its text form
// is none, all, view or random:SEED.
type Survivors struct {
	kind string
	seed uint64
}

// The choices without a seed; the package doc has their meaning.
var (
	None = Survivors{kind: "none"}
	All  = Survivors{kind: "all"}
	View = Survivors{kind: "view"}
)

// Random keeps a part: the same seed keeps the same part of the same state.
func Random(seed uint64) Survivors { return Survivors{"random", seed} }

// String returns the text form.
func (s Survivors) String() string {
	if s.kind == "random" {
		return fmt.Sprintf("random:%d", s.seed)
	}
	return s.kind
}

// ParseSurvivors reads the text form.
func ParseSurvivors(text string) (Survivors, error) {
	for _, s := range []Survivors{None, All, View} {
		if text == s.kind {
			return s, nil
		}
	}
	digits, ok := strings.CutPrefix(text, "random:")
	seed, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil {
		return Survivors{}, fmt.Errorf("parse survivors %q: want none, all, view or random:SEED", text)
	}
	return Random(seed), nil
}

// Survive returns what s leaves of the present state. It may be called at any
// time, before or after the cut.
func (d *Disk) Survive(s Survivors) *Tree {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &fate{survivors: s, journalled: d.opts.Dirs == Ext4, upTo: d.committed, placed: map[*Inode]*Tree{}}
	switch s.kind {
	case "all":
		f.upTo = d.journal
	case "random":
		f.rng = rand.New(rand.NewPCG(s.seed, s.seed))
		f.upTo += f.rng.Uint64N(d.journal - d.committed + 1)
	}
	return f.tree(d.root)
}

// fate decides for one crash what survives.
type fate struct {
	survivors  Survivors
	rng        *rand.Rand // nil unless random
	journalled bool
	upTo       uint64 // last surviving change, if journalled
	// placed keeps a file with two names one file, and breaks the cycles of
	// directories: a rename that came apart can make either.
	placed map[*Inode]*Tree
}

// change decides on a change of a name or size.
func (f *fate) change(seq uint64) bool {
	if f.journalled {
		return seq <= f.upTo
	}
	return f.unordered()
}

// unordered decides on what survives by itself.
func (f *fate) unordered() bool {
	return f.survivors == All || f.chance(2)
}

// chance is true once in n, and never unless random.
func (f *fate) chance(n int) bool {
	return f.rng != nil && f.rng.IntN(n) == 0
}

func (f *fate) tree(n *Inode) *Tree {
	t := &Tree{Mode: n.attr.Mode}
	f.placed[n] = t
	if n.file != nil {
		t.content = n.file.survive(f)
		return t
	}
	t.Entries = map[string]*Tree{}
	entries := n.dir.survive(f)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		child := entries[name]
		switch seen := f.placed[child]; {
		case seen == nil:
			t.Entries[name] = f.tree(child)
		case !child.IsDir():
			t.Entries[name] = seen
		}
	}
	return t
}

func (p *directory) survive(lot *fate) map[string]*Inode {
	if lot.survivors == View {
		return p.now
	}
	entries := maps.Clone(p.disk)
	for _, c := range p.pending {
		if !lot.change(c.seq) {
			continue
		}
		if c.to == nil {
			delete(entries, c.name)
		} else {
			entries[c.name] = c.to
		}
	}
	return entries
}

func (f *file) survive(lot *fate) image {
	if lot.survivors == View {
		return f.now.clone()
	}
	return f.replay(lot)
}

// replay applies the surviving steps to a copy of the durable image. What
// follows a lost change of size is lost with it.
func (f *file) replay(lot *fate) image {
	m := f.disk.clone()
	for _, s := range f.pending {
		if s.resize != 0 {
			if !lot.change(s.resize) {
				return m
			}
			m.resize(s.size)
			continue
		}
		lot.keepPage(&m, s)
	}
	return m
}

// keepPage lets a written page survive, or only the growth it brought, or
// nothing of it.
func (f *fate) keepPage(m *image, s step) {
	switch {
	case f.unordered():
		m.put(s.page, f.tear(m.page(s.page), s.data), s.size)
	case f.chance(4):
		m.size = max(m.size, s.size)
	}
}

// tear returns the new page, or once in eight a mix of old and new sectors.
func (f *fate) tear(old, page []byte) []byte {
	if !f.chance(8) {
		return page
	}
	torn := slices.Clone(old)
	for at := 0; at < PageSize; at += sectorSize {
		if f.chance(2) {
			copy(torn[at:at+sectorSize], page[at:])
		}
	}
	return torn
}
