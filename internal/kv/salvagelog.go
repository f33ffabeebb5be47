package kv

import (
	"bytes"
	"slices"
)

// salvagedLogs makes logs that hold everything readable of damaged ones and
// nothing else, under the same timestamps, so that Badger's replay decides what
// is newest.
type salvagedLogs struct {
	sealed *seals
	last   uint64 // the last commit seen
	most   uint64 // the largest timestamp that can be
	acked  uint64 // commits up to this one were acknowledged
	lost   []CommitRange
}

// mend does what mendLog does, for commits that are known to have been acknowledged.
func (s *salvagedLogs) mend(data []byte, owner Owner, last uint64) {
	for _, ts := range mendLog(data, owner, max(last, s.acked+1)) {
		s.lost = append(s.lost, CommitRange{ts, ts})
	}
}

// clean returns the log without what is broken. A transaction that is proven
// to have been acknowledged keeps those of its entries that can be read; one
// that is torn at the end is left out, as Badger does.
func (s *salvagedLogs) clean(data []byte) []byte {
	out := append([]byte(nil), zeros[:walHeader]...) // no key, any IV
	rest := data[min(walHeader, len(data)):]
	for {
		size := s.whole(rest)
		out, rest = append(out, rest[:size]...), rest[size:]
		end, found := s.nextEnd(rest)
		if !found {
			return out
		}
		size = end.at + end.size
		out, rest = s.broken(out, rest[:size], end.ts), rest[size:]
	}
}

// whole returns the size of the whole transactions that b begins with.
func (s *salvagedLogs) whole(b []byte) (size int) {
	for {
		ts, n, ok := readTransaction(b[size:])
		if !ok || ts > s.most {
			return size
		}
		s.skipTo(ts)
		s.last = max(s.last, ts)
		size += n
	}
}

// skipTo notes the commits before ts that are missing.
func (s *salvagedLogs) skipTo(ts uint64) {
	if ts > s.last+1 {
		s.lost = append(s.lost, CommitRange{s.last + 1, ts - 1})
	}
}

// nextEnd finds where the next transaction ends whose entries follow each other
// from the seal on: an end that is part of a message is not reached so. When
// none is left, the commit after the last one may still have its end, or if it
// was acknowledged some entries.
func (s *salvagedLogs) nextEnd(b []byte) (end place, found bool) {
	for seal := range sealsIn(b, span{s.last, s.most}, s.sealed) {
		size, whole := follow(b[seal.at:], seal.ts)
		if whole {
			n := len(appendEnd(nil, seal.ts))
			return place{seal.ts, seal.at + size - n, n}, true
		}
	}
	next := s.last + 1
	if next > s.acked {
		return end, false
	}
	last := appendEnd(nil, next)
	if at := bytes.LastIndex(b, last); at >= 0 {
		return place{next, at, len(last)}, true
	}
	size, _ := follow(b, next)
	return place{next, size, 0}, size > 0
}

// broken reads what it can of b, which begins with what should be commit
// last + 1 and ends with the end of commit ts. It goes backwards: a commit's
// entries lead back to the end of the one before, if that one is not broken.
func (s *salvagedLogs) broken(out, b []byte, ts uint64) []byte {
	first := s.last + 1
	s.last = ts
	lead, _ := follow(b, first)
	var parts [][]byte // the last commit first
	for ; ts > first && bytes.HasSuffix(b, appendEnd(nil, ts)); ts-- {
		start := chain(b, lead, ts)
		parts = append(parts, b[start:])
		before := b[:start]
		if !bytes.HasSuffix(before, appendEnd(nil, ts-1)) && !endsAs(before[lead:]) {
			s.lost = append(s.lost, CommitRange{ts, ts})
		}
		b = before
	}
	s.lost = append(s.lost, CommitRange{first, ts})
	out = append(out, b[:lead]...)
	if ts == first && bytes.HasSuffix(b, appendEnd(nil, first)) {
		out = append(out, b[max(lead, chain(b, lead, first)):]...)
	} else if lead > 0 {
		out = appendEnd(out, first)
	}
	for _, part := range slices.Backward(parts) {
		out = append(out, part...)
	}
	return out
}

// follow returns the size of the entries of commit ts that b begins with, and
// whether the last of them ends it.
func follow(b []byte, ts uint64) (size int, whole bool) {
	for {
		e, ok := member(b[size:], ts)
		if !ok {
			return size, false
		}
		if e.ends() {
			return size + e.size, true
		}
		size += e.size
	}
}

// endsAs reports whether b, broken as it is, is the end of a transaction by
// its own lengths: then what comes next is whole.
func endsAs(b []byte) bool {
	s, ok := readShape(b)
	return ok && s.meta == bitFinTxn && s.size() == len(b)
}

// chain returns the first place from which entries of commit ts follow each
// other to the end of b. What only looks like one, inside a message, is cut
// off from the end by the bytes after it.
func chain(b []byte, from int, ts uint64) int {
	dead := map[int]bool{}
	for budget := 64 * len(b); from < len(b) && budget > 0; from++ {
		if reaches(b, from, ts, dead, &budget) {
			return from
		}
	}
	return len(b) - len(appendEnd(nil, ts))
}

// reaches follows entries from at; budget bounds the bytes that it sums.
func reaches(b []byte, at int, ts uint64, dead map[int]bool, budget *int) bool {
	var path []int
	for at < len(b) && !dead[at] {
		e, ok := member(b[at:], ts)
		if !ok {
			break
		}
		path = append(path, at)
		*budget -= e.size
		at += e.size
	}
	if at == len(b) && len(path) > 0 {
		return true
	}
	for _, p := range path {
		dead[p] = true
	}
	return false
}

// member reads an entry of commit ts, whose timestamp is compared before its
// checksum is computed.
func member(b []byte, ts uint64) (e walEntry, ok bool) {
	s, ok := readShape(b)
	if !ok || s.meta&^bitDelete != bitTxn && s.meta != bitFinTxn || s.size() > len(b) {
		return e, false
	}
	if versionOf(b, s) != ts {
		return e, false
	}
	return readEntry(b)
}
