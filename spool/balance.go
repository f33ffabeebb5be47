package spool

import (
	"fmt"
	"maps"
	"slices"
)

// balance closes the books: it finds what is missing, sets every counter so that
// it agrees with what was read, and returns the report.
func (b *books) balance() (*Damage, error) {
	report := &Damage{At: b.now(), Quarantine: []string{}, Found: []string{}}
	b.findDatabase(report)
	known, noted := decodeNote(b.db.Noted())
	b.findHead(known, noted)
	report.Sequences = b.missing()
	unknown := b.unknownTopics(report.Sequences)
	if noted {
		unknown -= min(unknown, b.surelySettled(known))
	}
	ids := slices.Sorted(maps.Keys(b.accounts))
	for _, id := range ids {
		unknown -= b.accounts[id].settle(unknown, report)
	}
	b.unattributed(report, unknown)
	b.renew()
	b.settleMissing(report)
	b.takeOver(report)
	b.queueRedriven()
	b.closeTransactions()
	b.pauseAgain()
	if err := b.holdAgain(); err != nil {
		return nil, err
	}
	b.overwritten(report)
	b.marks.close(report)
	return report, nil
}

// findDatabase takes what the database says of its own salvage.
func (b *books) findDatabase(report *Damage) {
	if d := b.db.Damage(); b.salvaged() {
		report.Database, report.Quarantine = d.At, append(report.Quarantine, d.Quarantine...)
		for _, f := range d.Found {
			report.Found = append(report.Found, f.String())
		}
	}
}

// renew takes a new spool ID when it is not certain any more which IDs or topic
// sequences were given. A salvaged database has one already (head.afterDamage).
func (b *books) renew() {
	lost := slices.ContainsFunc(b.doubts, func(d doubted) bool { return string(d.key) == string(headKey) })
	for _, a := range b.accounts {
		lost = lost || len(a.numbers.origins) == 0 && a.counts.accepted > 0
	}
	if lost {
		b.head.newIdentity()
		b.raiseEpoch()
	}
}

// findHead raises the high water to whatever tells of a sequence, and the low
// one, if it had to be guessed, to the first that can be unsettled.
func (b *books) findHead(known note, noted bool) {
	h := &b.head
	h.highWater = max(h.highWater, b.highest, b.accepted())
	if noted {
		h.highWater = max(h.highWater, known.highWater)
	}
	for _, d := range b.doubts {
		if string(d.key) != string(headKey) {
			continue
		}
		low := h.highWater>>bitmapShift + 1
		for _, ranges := range []map[uint64]*bitmap{b.held.ranges, b.Spool.settled.ranges} {
			for r := range ranges {
				low = min(low, r)
			}
		}
		if len(b.runs) > 0 {
			low = min(low, b.runs[0].first>>bitmapShift)
		}
		b.settled.advance(low)
	}
}

// advance takes all below low for settled.
func (s *settledSet) advance(low uint64) {
	for ; s.low < low; s.low++ {
		b := s.ranges[s.low]
		if b == nil {
			b = new(bitmap)
		}
		s.messages += uint64(1<<bitmapShift - b.count)
		if s.low == 0 && !b.has(0) {
			s.messages--
		}
		delete(s.ranges, s.low)
	}
}

// missing are the sequences that are neither readable nor settled.
func (b *books) missing() (all []Lost) {
	for seq := max(1, b.settled.low<<bitmapShift); seq <= b.head.highWater; seq++ {
		if last, ok := b.settled.allSettled(seq); ok {
			seq = last
			continue
		}
		if b.held.has(seq) || b.settled.has(seq) {
			continue
		}
		topic := ""
		if l := b.topicAt(seq); l != nil {
			topic = l.topic
			b.accounts[l.id].missing++
		}
		if n := len(all); n > 0 && all[n-1].Last == seq-1 && all[n-1].Topic == topic {
			all[n-1].Last = seq
		} else {
			all = append(all, Lost{seq, seq, topic})
		}
	}
	return all
}

// topicAt is the topic of a sequence that cannot be read; nil: not known.
func (b *books) topicAt(seq uint64) *lane {
	if l := b.topicOf[seq]; l != nil {
		return l
	}
	i, found := slices.BinarySearchFunc(b.runs, seq, func(x run, seq uint64) int {
		return int(min(max(int64(x.first)-int64(seq), -1), 1))
	})
	if !found {
		i--
	}
	if i < 0 || seq >= b.runs[i].first+uint64(b.runs[i].count) || b.accounts[b.runs[i].topic] == nil {
		return nil
	}
	return b.accounts[b.runs[i].topic].lane
}

func (b *books) unknownTopics(all []Lost) (n uint64) {
	for _, l := range all {
		if l.Topic == "" {
			n += l.Last - l.First + 1
		}
	}
	return n
}

// surelySettled is how many of unknown topics were settled, by what HEAD noted of
// how much was held. What was settled and is not any more may be what is held
// again, or what is missing with its topic: it is lost, as long as it can be.
func (b *books) surelySettled(known note) (n uint64) {
	n = known.highWater - min(known.held, known.highWater)
	n -= min(n, b.settled.messages)
	for _, a := range b.accounts {
		n -= min(n, a.held+a.missing)
	}
	return n
}

// settle makes the counters agree with what was read. What they held and was
// not read is lost: what is known to be missing here, and so many of unknown
// topic. It returns how many of those it took. Without an entry of its own, all
// that is known of a topic is what was read.
func (a *account) settle(unknown uint64, report *Damage) (taken uint64) {
	a.raise()
	c := &a.counts
	before := c.settled()
	gone := uint64(0)
	if !a.rebuilt && c.accepted > before+a.held {
		gone = c.accepted - before - a.held
	}
	if !a.rebuilt && before+a.held > c.accepted {
		a.again = min(before+a.held-c.accepted, c.confirmed)
	}
	lost := max(a.missing, min(gone, a.missing+unknown))
	c.confirmed -= a.again
	c.lost += lost
	c.accepted = c.settled() + a.held
	if !a.rebuilt && a.dead > c.dead {
		report.Found = append(report.Found, fmt.Sprintf("topic %q: %d dead letters more than were counted; what was redriven may be one again", a.topic, a.dead-c.dead))
	}
	c.dead, c.delayed, c.half, c.expiring, c.bytes = a.dead, a.delayed, a.half, a.expiring, a.bytes
	a.renumber()
	report.Lost += lost
	if a.again > 0 {
		report.Found = append(report.Found, fmt.Sprintf("topic %q: it is not known any more that %d messages were settled; they are forwarded again", a.topic, a.again))
	}
	return lost - a.missing
}

// raise counts what the topic's entry does not know of yet: it is of an earlier
// commit than records that were read, and numbers are given without a gap.
func (a *account) raise() {
	if a.rebuilt {
		return
	}
	for id, given := range a.given {
		at := slices.IndexFunc(a.numbers.origins, func(o Origin) bool { return o.ID == id })
		if at < 0 && (given == 0 || len(a.numbers.origins) == maxOrigins) {
			continue // it has no numbers, or was forgotten
		}
		if at < 0 {
			at = len(a.numbers.origins)
			a.numbers.origins = append(a.numbers.origins, Origin{ID: id})
		}
		if o := &a.numbers.origins[at]; given > o.Last {
			a.counts.accepted += given - o.Last
			o.Last = given
		}
	}
}

// renumber keeps the topic's numbers in step with what it accepted, and forgets
// them where it counts fewer.
func (a *account) renumber() {
	n := &a.numbers
	n.earlier = 0
	if given := n.given(); a.counts.accepted >= given {
		n.earlier = a.counts.accepted - given
		return
	}
	*n = numbering{earlier: a.counts.accepted}
}

// unattributed is what no topic counts: lost ones of unknown topic, and settled
// ones whose counters are lost.
func (b *books) unattributed(report *Damage, unknown uint64) {
	counted, high := b.accepted(), &b.head.highWater
	if counted > *high { // the counters know of more than anything else does
		*high = counted
	}
	report.LostTopicUnknown = min(unknown, *high-counted)
	report.Lost += report.LostTopicUnknown
	report.Unattributed = *high - counted - report.LostTopicUnknown
}

// settleMissing sets the bit of all that is missing. The counters may say that
// only some of it is lost; then what is not had been settled.
func (b *books) settleMissing(report *Damage) {
	n := uint64(0)
	for _, l := range report.Sequences {
		n += l.Last - l.First + 1
		for seq := l.First; seq <= l.Last; seq++ {
			b.ranges[b.settled.set(seq)] = true
		}
	}
	for seq := b.head.highWater; seq > 0 && seq>>bitmapShift >= b.settled.low && !b.settled.has(seq) && !b.held.has(seq); seq-- {
		b.ranges[b.settled.set(seq)] = true // see unattributed: higher than what was looked at
	}
	if report.Among = report.Lost < n; report.Among {
		b.notef("%d of %d sequences without a record are settled: the counters say so", n-report.Lost, n)
	}
	if report.Lost == 0 {
		report.Sequences, report.Among = nil, false
	}
}

// takeOver puts what was read into memory.
func (b *books) takeOver(report *Damage) {
	b.Spool.held, b.Spool.delayed, b.Spool.half, b.Spool.ttl.held = 0, 0, 0, 0
	for _, a := range b.accounts {
		l := a.lane
		b.Spool.held += int64(l.counts.bytes)
		b.Spool.delayed += l.counts.delayed
		b.Spool.half += l.counts.half
		b.Spool.ttl.held += l.counts.expiring
		if a.firstBlock > 0 && (a.rebuilt || a.firstBlock < l.cursor) {
			l.cursor = a.firstBlock
		}
		if a.rebuilt || a.again > 0 || report.Database != "" { // any of it may have been sent
			l.attempted = max(l.attempted, b.head.highWater)
		}
		l.attemptedAtOpen, l.attemptedSynced = l.attempted, l.attempted
		if l.exceptions != a.excepted && !a.rebuilt {
			b.notef("topic %d: %d exceptions were kept, %d can be read", l.id, l.exceptions, a.excepted)
		}
		l.exceptions = a.excepted
		l.window.loadedTo = max(l.cursor, 1) - 1
		l.lastSeq = b.head.highWater
		if l.counts.waiting() > 0 {
			b.announce(l)
		}
	}
}

// holdAgain puts on hold what an operator had, in topics that were rebuilt too.
func (b *books) holdAgain() error {
	clear(b.holds)
	for _, a := range b.accounts {
		a.onHold, a.delayedOnHold = 0, 0
	}
	return b.loadHolds()
}

// overwritten deletes what could not be read, except what is written anew, or
// may yet be read by other means.
func (b *books) overwritten(report *Damage) {
	for _, r := range b.runs {
		if !r.read {
			b.deletes = append(b.deletes, indexKey(r.first))
		}
	}
	report.Found = append(report.Found, b.noted...)
	for _, d := range b.doubts {
		if len(report.Found) < maxFound {
			report.Found = append(report.Found, d.String())
		}
		if !b.keeps(d.key) {
			b.deletes = append(b.deletes, d.key)
		}
		if string(d.key[:2]) == string(keyPrefix) && fits(d.key) {
			b.head.keysGone = max(b.head.keysGone, tail64(d.key, len(keyPrefix)))
		}
	}
}

// keeps reports whether a doubted entry is not deleted.
func (b *books) keeps(key []byte) bool {
	switch string(key[:2]) {
	case "sh", "sm", "sc":
		return true
	case "ss":
		return fits(key) // keyNames writes it
	case "st":
		return fits(key) && b.accounts[tail32(key, len(topicPrefix))] != nil
	case "sw":
		if fits(key) {
			b.sets = append(b.sets, pair{key, encodeHold(&hold{at: b.now()})})
		}
		return fits(key)
	case "sb":
		return fits(key) && b.keepsBitmap(tail64(key, len(bitmapPrefix)))
	}
	return false
}

// keepsBitmap has the bitmap of a range written anew, if there has to be one.
func (b *books) keepsBitmap(r uint64) bool {
	if r < b.settled.low || b.settled.ranges[r] == nil && b.held.ranges[r] == nil {
		return false
	}
	if b.settled.ranges[r] == nil {
		b.settled.ranges[r] = new(bitmap)
	}
	b.ranges[r] = true
	return true
}

// fit encodes the report in at most size bytes: what does not fit is counted in
// it, and named in the log.
func (d *Damage) fit(size int) []byte {
	short := *d
	for v := short.encode(); ; v = short.encode() {
		if len(v) <= size {
			*d = short
			return v
		}
		short.Sequences, short.Found = short.Sequences[:len(short.Sequences)/2], short.Found[:len(short.Found)/2]
		short.Among = short.Lost > 0
	}
}
