package spool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Audit is an independent count of the records on disk, beside the ledger's
// counters of the same moment.
type Audit struct {
	Ledger   Ledger   `json:"ledger"`   // the counters, as they are on disk
	Held     uint64   `json:"held"`     // records that were read and are not settled
	Settled  uint64   `json:"settled"`  // sequences that the bitmaps say are settled
	Balanced bool     `json:"balanced"` // nothing is missing and every counter agrees
	Missing  []uint64 `json:"missing"`  // sequences that are neither (at most maxMissing are named)
	Damage   []string `json:"damage"`   // what could not be read, or disagrees
}

// maxMissing bounds how many missing sequences an audit names.
const maxMissing = 10_000

// Audit reads every record in one consistent view, checks its CRC, and compares
// sequences and topics with the ledger. It takes as long as reading the spool.
func (s *Spool) Audit(ctx context.Context) (Audit, error) {
	a := &auditor{topics: map[uint32]*auditTopic{}, letters: newSeqSet(), redriven: map[uint64]bool{}, barred: newSeqSet(), open: map[uint64]string{}, names: s.names}
	a.over = func() error { return cmp.Or(ctx.Err(), s.life.Err()) } // Close of the database waits for readers
	a.settled.ranges, a.held.ranges = map[uint64]*bitmap{}, map[uint64]*bitmap{}
	if err := s.db.Snapshot(a.run); err != nil {
		return Audit{}, fmt.Errorf("audit: %w", err)
	}
	return a.result(), nil
}

type auditTopic struct {
	*lane
	held, dead, bytes uint64
	delayed, expiring uint64
	half              uint64
	exceptions        uint64
	pauseFound        bool // its entry
	numbers           map[message.SpoolID]*auditNumbers
}

type auditor struct {
	over     func() error // why to stop reading
	r        kv.Reader
	head     head
	topics   map[uint32]*auditTopic
	settled  settledSet
	held     settledSet      // readable and not settled
	letters  seqSet          // of those, dead letters, and what was redriven
	redriven map[uint64]bool // and whose dead letter was not met yet
	barred   seqSet
	open     map[uint64]string // transactions that are not decided: their IDs, by number
	apart    bool              // some ID does not lead to its message by itself
	indexes  int               // of blocks that were found
	damage   []string
	reports  damageReports

	names       names
	secretFound bool // its entry

	transactions int // whose place in the index was not met yet
}

func (a *auditor) run(r kv.Reader) error {
	a.r = r
	v, err := r.Get(headKey)
	if err == nil {
		a.head, err = decodeHead(v)
	}
	if err != nil {
		return err
	}
	a.settled.startAt(a.head.lowRange)
	for _, walk := range []struct {
		prefix []byte
		visit  func(k, v []byte) error
	}{
		{damagePrefix, a.report}, {topicPrefix, a.topic}, {bitmapPrefix, a.bitmap}, {importPrefix, a.whereabouts}, {transactionPrefix, a.transaction}, {namePrefix, a.name}, {secretKey, a.secret}, {placePrefix(clockCheck), a.place}, {placePrefix(clockUndecided), a.place}, {placePrefix(clockDecided), a.place}, {placePrefix(clockEnding), a.place}, {againPrefix, a.redrive}, {deadPrefix, a.dead}, {delayedPrefix, a.delayed}, {holdPrefix, a.onHold}, {blockPrefix, a.block}, {indexPrefix, a.index}, {exceptPrefix, a.exceptions},
		{retainPrefix, a.kept}, {barPrefix, a.bar}, {orderPrefix, a.order}, {bindPrefix, a.queues}, {pausePrefix, a.pause},
	} {
		err := r.Scan(kv.Scan{Prefix: walk.prefix, Whole: true}, func(k, v []byte) (bool, error) {
			err := errDamaged
			if fits(k) {
				err = walk.visit(k, v)
			}
			if err != nil {
				a.notef("%s: %v", nameOf(k), err)
			}
			return true, a.over()
		})
		if errors.Is(err, kv.ErrDamaged) { // what can be read is counted all the same
			a.notef("%v", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	a.compareSecret()
	for seq := range a.redriven {
		a.notef("sequence %d was redriven, and has no record of its own", seq)
	}
	return nil
}

func (a *auditor) notef(format string, args ...any) {
	if len(a.damage) < maxMissing {
		a.damage = append(a.damage, fmt.Sprintf(format, args...))
	}
}

func (a *auditor) report(k, v []byte) error {
	if len(k) == len(damagePrefix) {
		return nil // of what was seen since: it is found here, too
	}
	d, err := decodeDamage(v)
	if err != nil {
		return err
	}
	a.reports.all = append(a.reports.all, d)
	if d.Acknowledged == nil {
		return fmt.Errorf("%s at %s, and nobody has acknowledged it", d.cost(), d.At.Format(time.RFC3339))
	}
	return nil
}

func (a *auditor) queues(_, v []byte) error {
	_, err := decodeBindings(v)
	return err
}

func (a *auditor) topic(k, v []byte) error {
	l, err := decodeLane(tail32(k, len(topicPrefix)), v)
	if err != nil {
		return err
	}
	a.topics[l.id] = &auditTopic{lane: l, numbers: map[message.SpoolID]*auditNumbers{}}
	return nil
}

func (a *auditor) bitmap(k, v []byte) error {
	b, err := decodeBitmap(v)
	if err == nil {
		a.settled.load(tail64(k, len(bitmapPrefix)), b)
	}
	return err
}

func (a *auditor) dead(k, v []byte) error {
	seq := tail64(k, len(deadPrefix)+4)
	t := a.topics[tail32(k, len(deadPrefix))]
	d, err := decodeDead(v)
	if err != nil {
		return err
	}
	if t == nil || d.record.Seq != seq || d.record.Topic != t.lane.topic {
		return errors.New("a dead letter is filed under a wrong sequence or topic")
	}
	if a.settled.has(seq) { // its deletion is lost
		return nil
	}
	if !a.redriven[seq] {
		t.dead++
	}
	delete(a.redriven, seq)
	a.letters.add(seq)
	return a.hold(t, d.record)
}

// redrive learns which dead letters are pending again.
func (a *auditor) redrive(k, v []byte) error {
	if seq := tail64(k, len(againPrefix)+4); !a.settled.has(seq) {
		a.redriven[seq] = true
	}
	_, err := decodeRedriven(v)
	return err
}

func (a *auditor) onHold(k, v []byte) error {
	_, err := decodeHold(v)
	if t := a.topics[tail32(k, len(holdPrefix))]; t != nil && err == nil && !a.settled.has(tail64(k, len(holdPrefix)+4)) {
		if _, failed := a.r.Get(delayedKey(tail64(k, len(holdPrefix)+4), t.lane.id)); failed == nil {
			t.delayedOnHold++
		} else {
			t.onHold++
		}
	}
	return err
}

// block counts the records of a block. Some that cannot be read do no harm if
// they are settled: lost, that is, and named in a report.
func (a *auditor) block(k, v []byte) error {
	t := a.topics[tail32(k, len(blockPrefix))]
	if t == nil {
		return errors.New("a block of an unknown topic")
	}
	first := tail64(k, len(blockPrefix)+4)
	next := first
	want := index{topic: t.lane.id}
	var found []error
	damaged := records(v, func(r message.Record) {
		if r.Seq < next || r.Topic != t.lane.topic {
			found = append(found, fmt.Errorf("sequence %d of topic %q stands where %d belongs", r.Seq, r.Topic, next))
			return
		}
		if want.number == 0 && r.TopicSeq > 0 {
			want.origin, want.number = r.ID.Spool(), r.TopicSeq-(r.Seq-first)
		}
		if err := t.follow(r, want, first); err != nil {
			found = append(found, err)
		}
		next = r.Seq + 1
		if a.settled.has(r.Seq) || a.held.has(r.Seq) { // settled, or moved to a dead letter
			return
		}
		if err := a.hold(t, r); err != nil {
			found = append(found, err)
		}
	})
	want.count = int(next - first)
	x, err := a.indexed(first)
	if err != nil {
		return errors.Join(append(found, damaged, err)...)
	}
	if !x.covers(want, damaged != nil) {
		found = append(found, fmt.Errorf("the index says %+v, the block is %+v", x, want))
	}
	if damaged != nil && a.lacks(first, x.count) {
		found = append(found, damaged)
	}
	return errors.Join(found...)
}

// lacks reports whether any of a block's sequences is neither held nor settled.
func (a *auditor) lacks(first uint64, count int) bool {
	for seq := first; seq < first+uint64(count); seq++ {
		if !a.settled.has(seq) && !a.held.has(seq) {
			return true
		}
	}
	return false
}

// indexed finds the entry by which the messages of a block are found.
func (a *auditor) indexed(firstSeq uint64) (index, error) {
	x, err := a.indexAt(firstSeq)
	if err == nil || errors.Is(err, errDamaged) {
		a.indexes++
	}
	return x, err
}

func (a *auditor) indexAt(firstSeq uint64) (index, error) {
	v, err := a.r.Get(indexKey(firstSeq))
	if err != nil {
		return index{}, fmt.Errorf("find the index of a block: %w", err)
	}
	return decodeIndex(v)
}

func (a *auditor) index(k, _ []byte) error {
	if a.indexes--; a.indexes < 0 && len(a.damage) == 0 {
		return errors.New("an index of no block")
	}
	return nil
}

// hold counts a readable record that is not settled, and checks a payload that
// is stored apart.
func (a *auditor) hold(t *auditTopic, r message.Record) error {
	if r.PayloadSize > 0 {
		if err := a.payload(r); err != nil {
			return fmt.Errorf("sequence %d: %w", r.Seq, err)
		}
	}
	if r.Seq > a.head.highWater {
		return fmt.Errorf("sequence %d is above the last one that was given, %d", r.Seq, a.head.highWater)
	}
	a.held.set(r.Seq)
	t.held++
	t.bytes += uint64(heldSize(r))
	return errors.Join(t.number(r), a.found(&r.Message), a.expires(t, r))
}

func (a *auditor) payload(r message.Record) error {
	v, err := a.r.Get(chunkSetKey(r.Seq))
	if err != nil {
		return fmt.Errorf("find payload: %w", err)
	}
	set, chunks, err := decodeChunkSet(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for n := range chunks {
		part, err := a.r.Get(chunkKey(set, n))
		if err == nil {
			part, err = unseal(part)
		}
		if err != nil {
			return fmt.Errorf("read payload: %w", err)
		}
		b.Write(part)
	}
	return r.SetPayload(b.Bytes())
}

// missing are the first sequences that are neither held nor settled.
func (a *auditor) missing() (all []uint64) {
	for seq := max(1, a.settled.low<<bitmapShift); seq <= a.head.highWater && len(all) < maxMissing; seq++ {
		if last, ok := a.settled.allSettled(seq); ok {
			seq = last
		} else if !a.held.has(seq) && !a.settled.has(seq) {
			all = append(all, seq)
		}
	}
	return all
}

// result compares. Every sequence up to the high water is held or settled;
// every topic's counters add up to what was counted.
func (a *auditor) result() Audit {
	out := Audit{Ledger: Ledger{Topics: map[string]Counts{}}, Missing: a.missing()}
	out.Settled = a.settled.messages
	moved := uint64(0)
	for _, t := range a.topics {
		out.Held += t.held
		moved += t.counts.moved
		if t.bytes != t.counts.bytes {
			a.notef("topic %q: the ledger holds %d bytes, %d were read", t.lane.topic, t.counts.bytes, t.bytes)
		}
		if t.held != t.counts.held() || t.dead != t.counts.dead {
			a.notef("topic %q: the ledger holds %d (%d dead), %d (%d dead) were read", t.lane.topic, t.counts.held(), t.counts.dead, t.held, t.dead)
		}
		a.compareDelayed(t)
		a.compareExpiring(t)
		a.compareHalf(t)
		a.comparePause(t)
		if n := t.lane.numbers.given(); n != t.counts.accepted {
			a.notef("topic %q: the ledger accepted %d, %d numbers were given", t.lane.topic, t.counts.accepted, n)
		}
		if t.exceptions != t.lane.exceptions {
			a.notef("topic %q: the ledger keeps %d exceptions, %d were read", t.lane.topic, t.lane.exceptions, t.exceptions)
		}
		c := t.ledger()
		out.Ledger.Topics[t.lane.topic] = c
		out.Ledger.Total.add(c)
	}
	out.Ledger.Total.add(a.reports.counts())
	if n := out.Ledger.Total.Accepted + moved; n != a.head.highWater {
		a.notef("the ledger accepted %d, with those that were delayed counted twice, %d sequences were given", n, a.head.highWater)
	}
	if n := a.head.highWater - min(out.Held, a.head.highWater); n != out.Settled {
		a.notef("%d sequences were given and %d are held, yet %d are settled", a.head.highWater, out.Held, out.Settled)
	}
	out.Damage = a.damage
	out.Balanced = len(out.Missing) == 0 && len(out.Damage) == 0
	return out
}
