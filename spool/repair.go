package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// repair compares everything when there is a doubt that all is there. What can
// be rebuilt from the rest is; every sequence that is neither readable nor
// settled is lost: it is named, counted, and settled. It runs before anything
// is served, and again after a crash within it.
func (s *Spool) repair(ctx context.Context) error {
	if !s.doubtful() {
		return nil
	}
	s.opts.Logger.Warn("the spool may be damaged: comparing all of it")
	// What a damaged table hides would be taken for lost: first it is salvaged.
	if found, err := s.db.Scrub(ctx, nil); err != nil || len(found) > 0 {
		return errors.Join(err, hidden(found))
	}
	b := newBooks(s)
	s.rejudge()
	if err := s.db.Snapshot(b.read); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	report, err := b.balance()
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	if len(s.doubts) > 0 {
		path, err := s.keepEvidence(s.doubts)
		if err != nil {
			s.opts.Logger.Error("cannot keep damaged entries in the quarantine", "error", err)
		} else {
			report.Quarantine = append(report.Quarantine, path)
		}
	}
	if err := b.write(ctx, report); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	s.tell(report)
	s.doubts, s.damage.doubted = nil, false
	return s.loadRetained() // some of it may have gone
}

func hidden(found []kv.Finding) error {
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%w: open it again, which salvages: %v", kv.ErrDamaged, found)
}

// doubtful finds a reason to compare. All of them are cheap.
func (s *Spool) doubtful() bool {
	n, noted := decodeNote(s.db.Noted())
	return len(s.doubts) > 0 || s.damage.doubted || s.salvaged() ||
		noted && n.highWater > s.head.highWater || s.accepted() != s.head.highWater
}

// salvaged reports whether the database was, and no report tells of it yet.
func (s *Spool) salvaged() bool {
	d := s.db.Damage()
	return d != nil && !slices.ContainsFunc(s.damage.all, func(r *Damage) bool { return r.Database == d.At })
}

// accepted is the sum of what all counters say.
func (s *Spool) accepted() uint64 {
	lost, settled := s.damage.unattributed()
	sum := lost + settled
	for _, l := range s.byID {
		sum += l.counts.accepted
	}
	return sum
}

// rejudge forgets the doubts about what the books read again.
func (s *Spool) rejudge() {
	s.doubts = slices.DeleteFunc(s.doubts, func(d doubted) bool {
		return slices.Contains([]string{"sd", "sa", "si", "sm", "sr", "sv", "sw", "so", "sy", "sp", "sj", "sq"}, string(d.key[:2]))
	})
}

func (s *Spool) tell(d *Damage) {
	if !d.worth() {
		s.opts.Logger.Info("nothing is missing")
		return
	}
	var sequences []string
	for _, l := range d.Sequences {
		sequences = append(sequences, l.String())
	}
	s.opts.Logger.Error("the spool was damaged: see what is lost, then acknowledge it", "found", d.Found, "lost", d.Lost,
		"sequences", sequences, "among", d.Among, "quarantine", d.Quarantine)
}

// worth reports whether there is anything to tell.
func (d *Damage) worth() bool {
	return len(d.Found) > 0 || d.Lost > 0 || d.Unattributed > 0
}

// write makes it durable: what is lost, with the counters and the report, in one
// commit unless that is too large; then what was rebuilt, which a crash before
// leaves to be found again. Marks go before: without a doubt nobody looks for them.
func (b *books) write(ctx context.Context, report *Damage) error {
	ops := append(b.marks.ops(), b.first(report)...)
	sets := map[string]bool{}
	part := &patch{}
	for _, p := range b.sets {
		sets[string(p.key)] = true
		if part.sets = append(part.sets, p); part.size() > b.sizes.op {
			ops, part = append(ops, part), &patch{}
		}
	}
	for _, k := range b.deletes {
		if sets[string(k)] {
			continue
		}
		if part.deletes = append(part.deletes, k); part.size() > b.sizes.op {
			ops, part = append(ops, part), &patch{}
		}
	}
	for _, op := range append(ops, part) {
		if err := b.commit(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

// first returns the operations that count: one, if its size allows.
func (b *books) first(report *Damage) (ops []*patch) {
	last := &patch{deletes: [][]byte{damagePrefix}}
	if report.worth() {
		b.damage.all = append(b.damage.all, report)
		last.sets = append(last.sets, pair{damageKey(len(b.damage.all)), report.fit(b.sizes.op / 2)})
	}
	for _, id := range slices.Sorted(maps.Keys(b.accounts)) {
		if a := b.accounts[id]; string(a.encode()) != a.was {
			last.lanes = append(last.lanes, a.lane)
		}
	}
	last.ranges = slices.Sorted(maps.Keys(b.ranges))
	if last.size() <= b.db.MaxCommit() {
		return []*patch{last}
	}
	for lanes := range slices.Chunk(last.lanes, max(1, b.sizes.op/fixedSize)) {
		ops = append(ops, &patch{lanes: lanes})
	}
	for ranges := range slices.Chunk(last.ranges, max(1, b.sizes.op/bitmapBytes)) {
		ops = append(ops, &patch{ranges: ranges})
	}
	last.lanes, last.ranges = nil, nil
	return append(ops, last)
}

// patch writes entries as they are in memory, or were made.
type patch struct {
	lanes   []*lane
	ranges  []uint64
	sets    []pair
	deletes [][]byte
}

func (p *patch) size() int {
	size := fixedSize + len(p.lanes)*fixedSize + len(p.ranges)*bitmapBytes + len(p.deletes)*deleteSize
	for _, s := range p.sets {
		size += len(s.key) + len(s.value) + deleteSize
	}
	return size
}

func (p *patch) apply(c *commit) {
	for _, l := range p.lanes {
		c.touch(l)
	}
	for _, r := range p.ranges {
		if r >= c.s.settled.low {
			c.ranges[r] = true
		}
	}
	c.sets = append(c.sets, p.sets...)
	c.deletes = append(c.deletes, p.deletes...)
}

func (*patch) synced(*Spool) {}
