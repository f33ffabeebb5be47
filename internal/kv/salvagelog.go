package kv

import (
	"bytes"
	"slices"
)

// salvagedLogs makes logs that hold everything readable of damaged ones and
// nothing else, under the same versions, so that Badger's replay decides what
// is newest.
type salvagedLogs struct {
	sealed  *seals
	last    uint64 // the last commit seen
	version uint64 // which that one has
	most    uint64 // the largest number that can be
	acked   uint64 // commits up to this one were acknowledged
	newest  uint64 // the largest number that a seal in some log has; 0: it is not known
	lost    []CommitRange
}

// see notes the seals of a log, before any log is cleaned.
func (s *salvagedLogs) see(data []byte) {
	if s.sealed == nil {
		return // any bytes of a message could be one
	}
	for seal := range sealsIn(data, span{s.last, s.most}, s.sealed) {
		s.newest = max(s.newest, seal.number)
	}
}

// withoutTorn leaves out the newest commit, if there is no proof that it was
// acknowledged and not all of it is there, also where its seal and its end are: a power
// loss keeps any pages of it. A part of it would be one of what shall be whole or not
// at all, with deletions for which nothing came in place. It is named lost: at the end
// of the newest log rot looks the same.
func (s *salvagedLogs) withoutTorn(data []byte) []byte {
	if s.newest <= s.acked {
		return data
	}
	for seal := range sealsIn(data, span{s.newest - 1, s.newest}, s.sealed) {
		size, ended := follow(data[seal.at:], seal.version)
		if !ended {
			continue // it is left out as it is
		}
		end := seal.at + size
		start := chain(data[:end], min(walHeader, end), seal.version)
		if !beginsCommit(data, start, end) {
			s.lost = append(s.lost, CommitRange{s.newest, s.newest})
			return data[:start]
		}
	}
	return data
}

// beginsCommit reports whether the last commit of the entries from start to end begins
// among them, or with them.
func beginsCommit(data []byte, start, end int) bool {
	if _, follows := lastEnd(data[:start]); follows || start <= walHeader {
		return true
	}
	for at := start; at < end; {
		e, ok := readEntry(data[at:end])
		if !ok {
			return false
		}
		if at += e.size; e.ends() && at < end {
			return true
		}
	}
	return false
}

// mend does what mendLog does, for commits that are known to have been acknowledged.
func (s *salvagedLogs) mend(data []byte, owner Owner, last uint64) {
	for _, number := range mendLog(data, owner, max(last, s.acked+1)) {
		s.lost = append(s.lost, CommitRange{number, number})
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
		out, rest = s.broken(out, rest[:size], end), rest[size:]
	}
}

// whole returns the size of the whole transactions that b begins with.
func (s *salvagedLogs) whole(b []byte) (size int) {
	for {
		t, ok := readTransaction(b[size:])
		if !ok || t.number > s.most {
			return size
		}
		s.skipTo(t.number)
		s.last, s.version = max(s.last, t.number), t.version
		size += t.size
	}
}

// skipTo notes the commits before number that are missing.
func (s *salvagedLogs) skipTo(number uint64) {
	if number > s.last+1 {
		s.lost = append(s.lost, CommitRange{s.last + 1, number - 1})
	}
}

// nextEnd finds where the next transaction ends whose entries follow each other
// from the seal on: an end that is part of a message is not reached so. When
// none is left, the commit after the last one may still have its end, or if it
// was acknowledged some entries.
func (s *salvagedLogs) nextEnd(b []byte) (end place, found bool) {
	for seal := range sealsIn(b, span{s.last, s.most}, s.sealed) {
		size, whole := follow(b[seal.at:], seal.version)
		if whole {
			n := len(appendEnd(nil, seal.version))
			return place{seal.number, seal.version, seal.at + size - n, n}, true
		}
	}
	next := s.last + 1
	if next > s.acked {
		return end, false
	}
	if end, found := s.steppedEnd(b); found {
		return end, true
	}
	for _, version := range s.nextVersions() { // its end stands behind all of its bodies
		last := appendEnd(nil, version)
		if at := bytes.LastIndex(b, last); at >= end.at && at >= 0 {
			end, found = place{next, version, at, len(last)}, true
		}
	}
	if found {
		return end, true
	}
	size, version, _ := s.lead(b)
	return place{next, version, size, 0}, size > 0
}

// steppedEnd finds the end of the commit after the last one, if the lengths of its
// entries hold: also of those whose checksums do not.
func (s *salvagedLogs) steppedEnd(b []byte) (end place, found bool) {
	for _, version := range s.nextVersions() {
		for at := 0; ; {
			shape, ok := readShape(b[at:])
			if !ok || shape.size() > len(b)-at {
				break
			}
			if e, ok := member(b[at:], version); ok && isEnd(e) {
				return place{s.last + 1, version, at, e.size}, true
			}
			at += shape.size()
		}
	}
	return end, false
}

// nextVersions are those that the commit after the last one can have: the same, or
// its own (versions.go).
func (s *salvagedLogs) nextVersions() [2]uint64 { return [2]uint64{s.version, s.last + 1} }

// lead returns the size of the entries that b begins with, if they are of the
// commit after the last one, and whether they end it.
func (s *salvagedLogs) lead(b []byte) (size int, version uint64, whole bool) {
	for _, version = range s.nextVersions() {
		if size, whole = follow(b, version); size > 0 {
			return size, version, whole
		}
	}
	return 0, version, false
}

// broken reads what it can of b, which begins with what should be commit
// last + 1 and finishes with that end. It goes backwards, since entries lead back
// to the end of the commit before, if that one is not broken, and through it.
func (s *salvagedLogs) broken(out, b []byte, end place) []byte {
	first := s.last + 1
	lead, leading, whole := s.lead(b)
	out = append(out, b[:lead]...)
	if whole {
		first++
	}
	s.last, s.version = end.number, end.version
	number := end.number // of the last commit in b
	var parts [][]byte   // the last first
	for last, ok := lastEnd(b); ok && len(b) > lead; last, ok = lastEnd(b) {
		start := max(lead, chain(b, lead, last.version))
		parts = append(parts, b[start:])
		number -= min(number, countEnds(b[start:]))
		b = b[:start]
		if _, ends := lastEnd(b); !ends && !endsAs(b[lead:]) {
			s.lost = append(s.lost, CommitRange{number + 1, number + 1})
		}
	}
	if number >= first {
		s.lost = append(s.lost, CommitRange{first, number})
	}
	slices.Reverse(parts)
	if lead > 0 && !whole && (len(parts) == 0 || !begins(parts[0], leading)) {
		out = appendEnd(out, leading)
	}
	return append(out, bytes.Join(parts, nil)...)
}

// begins reports whether b begins with an entry of that version.
func begins(b []byte, version uint64) bool {
	_, ok := member(b, version)
	return ok
}

// countEnds counts the ends of transactions among the entries that b consists of.
func countEnds(b []byte) (n uint64) {
	for len(b) > 0 {
		e, ok := readEntry(b)
		if !ok {
			return n
		}
		if e.ends() {
			n++
		}
		b = b[e.size:]
	}
	return n
}

// lastEnd reads the end of a transaction that b finishes with.
func lastEnd(b []byte) (end place, ok bool) {
	tail := b[max(0, len(b)-walEndOverhead):]
	at := bytes.LastIndex(tail, endKey) - shapedHeader
	if at < 0 {
		return end, false
	}
	e, ok := readEntry(tail[at:])
	if !ok || !isEnd(e) || at+e.size != len(tail) {
		return end, false
	}
	return place{version: e.version, at: len(b) - e.size, size: e.size}, true
}

// follow returns the size of the entries of that version that b begins with, and
// whether the last of them ends it.
func follow(b []byte, version uint64) (size int, whole bool) {
	for {
		e, ok := member(b[size:], version)
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

// chain returns the first place from which entries of that version follow each
// other to the end of b. What only looks like one, inside a message, is cut
// off from the end by the bytes after it.
func chain(b []byte, from int, version uint64) int {
	dead := map[int]bool{}
	for budget := 64 * len(b); from < len(b) && budget > 0; from++ {
		if reaches(b, from, version, dead, &budget) {
			return from
		}
	}
	return len(b) - len(appendEnd(nil, version))
}

// reaches follows entries from at; budget bounds the bytes that it sums.
func reaches(b []byte, at int, version uint64, dead map[int]bool, budget *int) bool {
	var path []int
	for at < len(b) && !dead[at] {
		e, ok := member(b[at:], version)
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

// member reads an entry of that version, whose version is compared before its
// checksum is computed.
func member(b []byte, version uint64) (e walEntry, ok bool) {
	s, ok := readShape(b)
	if !ok || s.meta&^bitDelete != bitTxn && s.meta != bitFinTxn || s.size() > len(b) {
		return e, false
	}
	if versionOf(b, s) != version {
		return e, false
	}
	return readEntry(b)
}
