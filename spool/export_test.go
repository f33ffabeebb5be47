package spool

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Overdrawn watches for commits that write more than their operations declared.
// It returns the first one, described, or "".
func Overdrawn(s *Spool) (first func() string) {
	said := ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer.wrote = func(ops []operation, c *commit) {
		declared, entries := 0, 0
		for _, op := range ops {
			declared += op.size()
			entries += 8 + op.size()/48
		}
		if said == "" && (c.bytes > declared || c.entries > entries) {
			s.mu.Lock()
			said = fmt.Sprintf("%T and others, %d: wrote %d bytes, %d entries, declared %d and %d", ops[0], len(ops), c.bytes, c.entries, declared, entries)
			s.mu.Unlock()
		}
	}
	return func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return said
	}
}

// LargestImport watches for the bytes of payloads stored apart of one import's commit.
func LargestImport(s *Spool) (most func() int) {
	largest := 0
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.writer.wrote
	s.writer.wrote = func(ops []operation, c *commit) {
		before(ops, c)
		for _, op := range ops {
			if op, is := op.(*importMessages); is {
				sum := 0
				for _, n := range op.added {
					sum += len(n.external)
				}
				s.mu.Lock()
				largest = max(largest, sum)
				s.mu.Unlock()
			}
		}
	}
	return func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return largest
	}
}

// Expire does at once what is done every few seconds.
func (s *Spool) Expire() error { return s.expire() }

// ExpiredReceipts finds what retention ends, to be dropped later.
func (s *Spool) ExpiredReceipts() (drop func() error) {
	op := &dropReceipts{s.expiredReceipts()}
	return func() error { return s.commit(s.life, op) }
}

// MostLanes is for how many topics a delayed message is looked for by its key.
const MostLanes = mostLanes

// FreshBytes bounds what transactions take in memory.
const FreshBytes = freshBytes

// Fresh are the IDs of those.
func (s *Spool) Fresh() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.transactions.fresh
	sum := int64(0)
	for _, e := range f.byID {
		x, _ := e.Value.(*freshTransaction)
		sum += x.bytes
	}
	if sum != f.bytes || sum > freshBytes || f.oldest.Len() != len(f.byID) {
		panic(fmt.Sprintf("fresh transactions hold %d bytes, %d are counted, of at most %d; %d in order, %d by ID", sum, f.bytes, freshBytes, f.oldest.Len(), len(f.byID)))
	}
	return slices.Collect(maps.Keys(f.byID))
}

// Windows is how many bytes of messages are counted as being in memory.
func (s *Spool) Windows() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := int64(0)
	for _, l := range s.lanes {
		sum += l.window.bytes + l.copies.window.bytes
	}
	if sum != s.windows {
		panic(fmt.Sprintf("the windows hold %d bytes, %d are counted", sum, s.windows))
	}
	return sum
}

// Aside is how many messages are put aside.
func (s *Spool) Aside() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		for _, seqs := range l.window.aside {
			n += len(seqs)
		}
	}
	if n != s.aside {
		panic(fmt.Sprintf("%d messages are aside, %d are counted", n, s.aside))
	}
	return n
}

// Blocks is how many blocks of a topic are remembered.
func (s *Spool) Blocks(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lanes[topic].blocks)
}

// SettledBytes is what the bitmaps cost in memory.
func (s *Spool) SettledBytes() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.settled.ranges {
		if b != fullBitmap {
			n += len(b.words) * 8
		}
	}
	return n
}

// WakeDue looks at the clock, as a Lease does first, and has it looked whether
// delayed messages are due, and what has expired.
func (s *Spool) WakeDue() {
	s.dueSooner.raise()
	s.ttl.sooner.raise()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		l.window.wakeDue(s.opts.Now())
	}
}

// SeqOf is the sequence of a message: not that of its ID, if it was delayed.
func (s *Spool) SeqOf(id message.ID) uint64 { return s.seqOf(id) }

// DuringARead calls fn while a topic is read from disk.
func (s *Spool) DuringARead(topic string, fn func()) {
	s.mu.Lock()
	l := s.lanes[topic]
	if !s.startLoading(l, maxGrant) {
		panic("nothing is to be read")
	}
	s.mu.Unlock()
	r := s.readBehind(l)
	fn()
	if err := s.enterBlocks(l, r); err != nil {
		panic(err)
	}
}

// FoundEmpty does what a read does that found nothing held in the block of a sequence.
func (s *Spool) FoundEmpty(topic string, firstSeq uint64) error {
	return s.commit(s.life, &dropBlock{s.laneOf(topic), diskBlock{firstSeq: firstSeq, count: 1}})
}

// AgeTo makes the spool as old as if upTo messages had been accepted and
// confirmed, on topic "old".
func (s *Spool) AgeTo(upTo uint64) error { return s.commit(s.life, &age{upTo}) }

type age struct{ upTo uint64 }

func (a *age) size() int { return 2 * fixedSize }

func (a *age) apply(c *commit) {
	s := c.s
	l := s.laneFor("old")
	l.counts.accepted, l.counts.confirmed, l.numbers.earlier = a.upTo, a.upTo, a.upTo
	c.touch(l)
	s.head.highWater = a.upTo
	s.settled.startAt(a.upTo >> bitmapShift)
	clear(s.settled.ranges)
	for seq := s.settled.low << bitmapShift; seq <= a.upTo; seq++ {
		c.ranges[s.settled.set(seq)] = true
	}
}

func (a *age) synced(*Spool) {}

// NextLife is how an opening changes an epoch, on the volume it was on or another.
func NextLife(epoch uint32, sameVolume bool) (next uint32, sameID bool) {
	h := head{spoolID: message.SpoolID{1}, epoch: epoch, device: 1, inode: 1}
	inode := uint64(2)
	if sameVolume {
		inode = 1
	}
	h.nextLife(1, inode)
	return h.epoch, h.spoolID == message.SpoolID{1}
}

// Prefixes are the kinds of entries in the database.
func Prefixes() (all []string) {
	for _, p := range [][]byte{
		headKey, topicPrefix, blockPrefix, indexPrefix, bitmapPrefix, chunkPrefix, chunkSetPrefix, deadPrefix, againPrefix, holdPrefix, importPrefix, endedPrefix, receiptPrefix, keyPrefix, exceptPrefix, damagePrefix, retainPrefix, barPrefix, orderPrefix, delayedPrefix, duePrefix, bindPrefix, pausePrefix, transactionPrefix, namePrefix, secretKey,
	} {
		all = append(all, string(p))
	}
	return all
}

// IsException reports whether an ending of that state and number is kept as one.
func IsException(state message.State, number uint64) bool {
	c := newCommit(nil)
	e := &ending{lane: &lane{}, number: number}
	e.State = state
	c.except(e)
	return len(c.exceptions) == 1
}

// RewriteLine writes what the line of a message, or of a key, decodes to, and
// does so again.
func RewriteLine(kind string, raw []byte) (first, again string, err error) {
	text := fmt.Appendf(nil, `{"crc32c":"%08x",%q:%s}`, crc32.Checksum(raw, castagnoli), kind, raw)
	l, err := decodeLine(text, exportVersion)
	for _, out := range []*string{&first, &again} {
		if err != nil {
			return first, again, err
		}
		var x any = l.settled
		if l.item != nil {
			x = exportedOf(l.item, l.key, time.Time{})
		}
		b, failed := appendLine(nil, kind, x)
		if failed != nil {
			return "", fmt.Sprint("it cannot be written: ", failed), nil
		}
		*out = string(b)
		if l, failed = decodeLine(b[:len(b)-1], exportVersion); failed != nil {
			return first, fmt.Sprint("it cannot be read again: ", failed), nil
		}
	}
	return first, again, nil
}

// Flush waits for a commit: what was posted before is recorded.
func (s *Spool) Flush() {
	if err := s.commit(s.life, &flush{}); err != nil {
		panic(err)
	}
}

// Fit shortens a report until it is encoded in size bytes.
func Fit(d Damage, size int) (Damage, int) {
	v := d.fit(size)
	return d, len(v)
}

// ReportEntry is the entry of a report, whatever its size and number.
func ReportEntry(n int, d Damage) (key, value []byte) { return damageKey(n), d.encode() }

// VerifyNow makes a pass of the verification, without pauses.
func (s *Spool) VerifyNow() error { return s.verify(s.life, 1<<40) }

// Hop is where the search for blocks with settled messages goes on.
func Hop(ranges []uint64, first uint64) (next uint64, found bool) { return hop(ranges, first) }

// Raises reports whether keeping more than there is room for wakes who drops it;
// stuck: that was tried, and orders keep all of it.
func Raises(stuck bool) bool {
	s := &Spool{opts: Options{RetainBytes: 1}, retained: newRetained()}
	s.retained.stuck = stuck
	newCommit(s).retain(retainedEntry{kind: retainedBlock, bytes: 2})
	return len(s.retained.over) > 0
}

// Patiently reads for a caller who may give up.
func (s *Spool) Patiently(ctx context.Context, read func() (message.Receipt, error)) (message.Receipt, error) {
	return patiently(ctx, s, read)
}

// ChangeBy begins to change a transaction, tells so, and goes on when it may.
func (s *Spool) ChangeBy(ctx context.Context, id string, began chan<- struct{}, goOn <-chan struct{}) error {
	_, err := s.changeTransaction(ctx, id, func(*Transaction) (operation, error) {
		began <- struct{}{}
		<-goOn
		return nil, nil
	})
	return err
}

// DueBehind reports whether delays are looked for behind those that ended by at.
func (s *Spool) DueBehind(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due[clockElapsed].from.at >= millis(at)
}

// DueKnown reports whether it is known what is due next: until then the index is read.
func (s *Spool) DueKnown() bool {
	known := s.nextDue(clockWall) > millis(s.opts.Now()) && s.nextDue(clockElapsed) > s.clock.now() && s.nextDue(clockTTL) > s.clock.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, clock := range [...]dueClock{clockWall, clockElapsed, clockTTL} {
		known = known && s.due[clock].next == s.due[clock].from // else it is being read
	}
	return known
}

// DueReads counts the entries of the index of due times that were read.
func (s *Spool) DueReads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, x := range s.due {
		n += x.reads
	}
	return n
}

// Watched reports whether a call waits for the end of a message.
func (s *Spool) Watched(id message.ID) bool {
	seq := s.seqOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, watched := s.watchers[seq]
	return watched
}

// Attempted counts the queues of a topic at which attempts are made.
func Attempted(s *Spool, topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lanes[topic].window.attempted)
}

// Overdue reports whether something may have expired, and is not in flight.
func (s *Spool) Overdue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due[clockTTL].next.at <= s.clock.now() || s.ttl.leaving > 0
}

// Ahead is what a lane has ready, whether all of it may be attempted, and whether
// more is being read or allowed.
func (s *Spool) Ahead(topic string) (ready int, allowed, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[topic]
	return l.window.queued, l.attemptedSynced >= l.window.loadedTo, l.window.loading || l.raising
}

// Progress changes with each step by which a lane comes to have something to lease.
func Progress(s *Spool, topic string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[topic]
	return fmt.Sprint(l.window.loadedTo, len(l.again), l.window.aside, l.attemptedSynced, l.raising, l.window.loading)
}

// Starving reports whether a topic waits for room.
func (s *Spool) Starving(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[topic].starving
}

// KeyCost is what an idempotency key counts for.
const KeyCost = keyCost

// RecallKeys has the idempotency keys of all but the last n or so read.
func RecallKeys(s *Spool, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.youngEnough = n
}

// ReadKeys reads what has to be read of the keys of drafts, as who brings them does,
// or as the committer does, and returns how many it found.
func ReadKeys(s *Spool, drafts []Draft, committer bool) (found int, err error) {
	op := newAppend(drafts)
	s.mu.Lock()
	sought := op.sought(&s.keys, nil)
	s.mu.Unlock()
	if committer {
		s.readSurely(sought)
	} else if err := s.readAhead(context.Background(), sought); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range op.added {
		if _, known := n.reads.counting(&s.keys); known {
			found++
		}
	}
	return found, op.unsure()
}

// HashKey is what the spool keeps of a topic and an idempotency key.
func HashKey(topic, key string) [16]byte { return hashKey(topic, key) }

// IsImported is what Resend asks of a message without a number.
func (s *Spool) IsImported(m message.Message) bool {
	return s.isImported(&message.Record{Message: m})
}

// PlainNames has every n-th transaction found by plain hashes, as all were before
// format 7, and brings the spool to a format. The mark in its secret stays, unless that
// is to be gone.
func (s *Spool) PlainNames(n int, format byte, secret bool) error {
	op := &plainNames{format: format, secret: secret}
	for p, err := range s.db.pairs(kv.Scan{Prefix: transactionPrefix}) {
		if err != nil {
			return err
		}
		if t, err := decodeTransaction(tail64(p.key, len(transactionPrefix)), p.value); err == nil {
			op.all = append(op.all, t)
		}
	}
	for i := range op.all {
		if i%n > 0 {
			op.all[i] = nil
		}
	}
	return s.commit(s.life, op)
}

type plainNames struct {
	all    []*Transaction
	format byte
	secret bool
}

func (op *plainNames) size() int { return fixedSize + 1024*len(op.all) }

func (op *plainNames) apply(c *commit) {
	for _, t := range op.all {
		if t == nil {
			continue
		}
		for i, n := range (&names{}).of(t) {
			c.sets = append(c.sets, pair{nameKey(n), encodeName(t.number)})
			c.deletes = append(c.deletes, nameKey(c.s.names.of(t)[i]))
		}
	}
	if c.s.head.format = op.format; !op.secret {
		c.deletes = append(c.deletes, secretKey)
	} else if op.format >= formatKeyedNames {
		c.sets = append(c.sets, pair{secretKey, c.s.names.encode(false)})
	}
}

func (*plainNames) synced(*Spool) {}

// KeyHash is that of an idempotency key of a message.
func KeyHash(topic, key string) []byte {
	h := hashKey(topic, key)
	return h[:]
}

// PlainHash is what a transaction was found by before format 7.
func PlainHash(kind byte, text string) []byte {
	n := plainHash(kind, text)
	return n[:]
}
