package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Append makes drafts durable, all or none of them, and returns their receipts
// in order. When it returns nil the messages, the dedupe keys and the ledger's
// counters are on stable storage; a crash before that leaves all or nothing.
//
// A draft whose dedupe key was accepted before with the same fingerprint stores
// nothing; its receipt is the first one's, as it stands now, with Duplicate set.
//
// It waits for the disk until ctx ends; when the disk is behind already, not at
// all. When it has returned nil the drafts are the caller's again, but not what they
// refer to.
//
// Errors: a *DraftError for ErrKeyReused and ErrKeySettled; ErrFull,
// ErrTopicFull, ErrDiskLow, ErrBusy, ErrTooManyTopics, ErrTooLarge, ErrClosed,
// ErrReadOnly, or the context's error: nothing was stored. ErrUnknown, with one of
// these or without: it may be; a retry under the same key decides.
func (s *Spool) Append(ctx context.Context, drafts []Draft) ([]message.Receipt, error) {
	op := newAppend(drafts)
	for _, n := range op.added {
		s.forTimer(n)
	}
	if err := s.neverFits(ctx, op); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, op); err != nil {
		return nil, s.truly(op, err)
	}
	if err := s.offer(ctx, op); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if op.err != nil {
		return nil, op.err
	}
	return s.receiptsOf(ctx, op)
}

// newMessage is a draft on its way into a block.
type newMessage struct {
	msg         *message.Message
	key         keyHash   // zero: none
	reads       *keyReads // of it
	fingerprint uint64
	size        int
	external    []byte // encoded payload, when it is stored apart
	payload     *payload
	block       *block
	earlier     keyRef        // the message that has the key, as find saw it; zero: none
	imported    *broughtAlong // nil: it is new here
	first       *newMessage   // the same, when it is new in this very commit

	delay     time.Duration   // or deliverAt, as asked for
	deliverAt time.Time       // when it will be pending
	timed     bool            // it may be pending before, for the broker's timer
	due       due             // of a delayed message; its seq is 0 until it is
	moved     *message.Record // it was delayed or half, and keeps its ID and time; nil: it was not
	since     uint64          // it was delayed or half, and is due since then, in milliseconds since 1970
	half      *Transaction    // it is half, of this one; nil: it is not
}

// recordSize is an upper bound of the bytes of its record.
func (n *newMessage) recordSize() int {
	fixed := 64 + recordOverhead // header, sequence, ID, time, CRC, lengths
	if n.msg.TTL > 0 {
		fixed += ttlBytes
	}
	if n.payload != nil {
		return fixed + len(n.msg.Topic) + len(n.msg.OrderingKey)
	}
	return fixed + n.size + 3*7 + longLengths(n.msg)
}

// longLengths is what the lengths of keys and properties take besides the byte that
// each of them counts for.
func longLengths(m *message.Message) (more int) {
	of := func(s string) {
		for n := len(s); n >= 1<<7; n >>= 7 {
			more++
		}
	}
	for _, k := range m.Keys {
		of(k)
	}
	for _, p := range m.Properties {
		of(p.Name)
		of(p.Value)
	}
	return more
}

// appendRecord appends the record of the message, which has its sequence.
func (n *newMessage) appendRecord(b []byte) []byte {
	switch {
	case n.moved != nil:
		return message.AppendAgain(b, &message.Record{Message: *n.msg, PayloadSize: n.moved.PayloadSize, PayloadCRC: n.moved.PayloadCRC})
	case n.external != nil:
		return message.AppendExternalRecord(b, n.msg, n.external)
	}
	return message.AppendRecord(b, n.msg)
}

// isDead reports whether it is taken in as a dead letter.
func (n *newMessage) isDead() bool { return n.imported != nil && n.imported.dead != nil }

// payloadSize is what storing it apart takes out of its record.
func (n *newMessage) payloadSize() int { return n.size - len(n.msg.Topic) - len(n.msg.OrderingKey) }

// prepare does outside the commit what can be done there.
func (s *Spool) prepare(ctx context.Context, op *appendMessages) error {
	if s.closed() {
		return ErrClosed
	}
	total := int(op.bytes())
	if err := cmp.Or(ctx.Err(), errorOf(s.db.Busy(total))); err != nil {
		return err
	}
	if err := s.admit(ctx, op); err != nil {
		return err
	}
	inline := s.sizes.inline
	if total > s.sizes.unit {
		inline = inlineSmall
	}
	for _, n := range op.added {
		if n.payloadSize() > inline {
			s.storeApart(n)
		}
	}
	return nil
}

func newAppend(drafts []Draft) *appendMessages {
	op := &appendMessages{added: make([]*newMessage, len(drafts))}
	for i := range drafts {
		op.added[i] = newMessageOf(&drafts[i])
	}
	return op
}

func newMessageOf(d *Draft) *newMessage {
	m := d.Message
	m.TTL, m.ExpiresAt = wholeMillis(m.TTL), time.Time{}
	n := &newMessage{msg: &m, size: m.Size(), delay: d.Delay, deliverAt: d.DeliverAt.Truncate(time.Millisecond)}
	if d.DedupeKey != "" {
		n.key, n.fingerprint = hashKey(m.Topic, d.DedupeKey), shortFingerprint(d.Fingerprint)
	}
	return n
}

func (s *Spool) storeApart(n *newMessage) {
	n.external = message.AppendPayload(make([]byte, 0, n.size+64), n.msg)
	n.payload = s.storePayload(n.msg, n.external)
	n.size = heldSize(n.payload.rec)
}

// appendMessages accepts the messages of one Append, or of one Prepare.
type appendMessages struct {
	added []*newMessage
	half  *preparation // nil: they are not half
	err   error
}

// size is an upper bound: for each message its record, its dedupe key and where
// its payload is, which may have to go again; for each topic block, index, topic.
func (op *appendMessages) size() int {
	const apart = 64 + valueOverhead
	size := fixedSize + topicSize*op.topics()
	for _, n := range op.added {
		size += n.recordSize() + keyBytes
		switch {
		case n.half != nil:
			size += delayRoom + n.half.extra()
		case n.delay > 0 || !n.deliverAt.IsZero():
			size += delayRoom
		default:
			size += n.ttlSize()
		}
		if n.payload != nil {
			size += apart + int(n.payload.chunks)*deleteSize
		}
	}
	if op.half != nil {
		size += op.half.room(len(op.added))
	}
	return size
}

// bytes is the sum of what the messages count for.
func (op *appendMessages) bytes() (sum int64) {
	for _, n := range op.added {
		sum += int64(n.size)
	}
	return sum
}

// topics is how many there are messages of.
func (op *appendMessages) topics() int {
	if len(op.added) == 1 {
		return 1
	}
	seen := map[string]bool{}
	for _, n := range op.added {
		seen[n.msg.Topic] = true
	}
	return len(seen)
}

func (op *appendMessages) apply(c *commit) {
	op.claimed(c.s)
	for _, n := range op.added {
		n.find(c.s)
	}
	if op.err = cmp.Or(op.half.refusal(), op.unsure()); op.err == nil {
		op.err = op.check(c)
	}
	for _, n := range op.added {
		if op.err != nil || !n.claim(c) {
			c.dropChunks(n.payload)
			continue
		}
		c.add(c.s.laneFor(n.msg.Topic), n)
	}
	if op.half != nil && op.err == nil {
		c.prepared = append(c.prepared, op)
	}
}

// claim takes the message's dedupe key; false: another message has it.
func (n *newMessage) claim(c *commit) bool {
	if n.key == (keyHash{}) {
		return true
	}
	if n.first = c.reserved[n.key]; n.first != nil || n.earlier.seq > 0 {
		return false
	}
	c.reserved[n.key] = n
	return true
}

// find looks for the message that has the key. One look serves all of an apply:
// only the committer changes the index, and what apply takes is reserved until all
// of the commit is sealed. s.mu is held.
func (n *newMessage) find(s *Spool) {
	if n.key != (keyHash{}) {
		n.earlier, _ = s.keys.get(n.key, n.reads)
	}
}

// check finds what makes the whole unit impossible, before anything is changed.
func (op *appendMessages) check(c *commit) error {
	if err := op.checkRoom(c); err != nil {
		return err
	}
	unknown, own := map[string]bool{}, map[keyHash]uint64{}
	for i, n := range op.added {
		if c.s.lanes[n.msg.Topic] == nil {
			unknown[n.msg.Topic] = true
		}
		if err := n.checkKey(c, own); err != nil {
			return &DraftError{Index: i, Err: err}
		}
	}
	if len(unknown) > 0 && len(c.s.lanes)+len(unknown) > c.s.opts.MaxTopics {
		return fmt.Errorf("%w: %d are known; raise topics.max", ErrTooManyTopics, len(c.s.lanes))
	}
	return nil
}

// checkRoom asks again: since admit the volume may have been filled. Of a message
// whose key another call has brought it cannot be said that nothing is stored.
func (op *appendMessages) checkRoom(c *commit) error {
	size, repeats := int64(0), false
	for _, n := range op.added {
		if n.repeats(c) {
			repeats = true
		} else {
			size += int64(n.size)
		}
	}
	if size == 0 {
		return nil
	}
	err := c.s.opts.Space.Refuse(size)
	if err != nil && repeats {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// repeats reports whether the key is known, or of this commit.
func (n *newMessage) repeats(c *commit) bool {
	if n.key == (keyHash{}) {
		return false
	}
	return n.earlier.seq > 0 || c.reserved[n.key] != nil
}

// checkKey looks for the key among those of the unit itself (own), of this
// commit, and of all before.
func (n *newMessage) checkKey(c *commit, own map[keyHash]uint64) error {
	if n.key == (keyHash{}) {
		return nil
	}
	fingerprint, known := own[n.key]
	if first := c.reserved[n.key]; first != nil {
		fingerprint, known = first.fingerprint, true
	} else if n.earlier.seq > 0 {
		if c.s.ended[n.earlier.seq] {
			return ErrKeySettled
		}
		fingerprint, known = n.earlier.fingerprint, true
	}
	if known && fingerprint != n.fingerprint {
		return ErrKeyReused
	}
	own[n.key] = n.fingerprint
	return nil
}

// laneFor returns the lane of a topic, new when it is.
func (s *Spool) laneFor(topic string) *lane {
	l := s.lanes[topic]
	if l == nil {
		s.head.topics++
		l = newLane(s.head.topics, topic)
		l.window.atTail = true
		s.addLane(l)
	}
	return l
}

// synced lets the forwarder see the messages.
func (op *appendMessages) synced(s *Spool) {
	if op.half != nil {
		op.half.synced(s, op)
	}
	if op.err != nil {
		return
	}
	for _, n := range op.added {
		switch {
		case n.first != nil:
			n.earlier.seq, n.earlier.id = n.first.msg.Seq, n.first.msg.ID
		case n.earlier.seq == 0:
			s.enter(n)
		}
	}
}

// enter brings a new message into its lane's window, if there is room for its
// block, nothing waits on disk before it, and the topic is not paused.
func (s *Spool) enter(n *newMessage) {
	l := s.lanes[n.msg.Topic]
	if n.due.seq > 0 {
		if n.half == nil {
			s.schedule(n.due)
		}
		return
	}
	l.lastSeq = n.msg.Seq
	if at := expiryOf(n.msg); at > 0 {
		s.schedule(due{clockTTL, at, n.msg.Seq})
	}
	s.announce(l)
	if !l.paused() { // else nobody can do anything about it
		l.ready.raise()
	}
	w := &l.window
	if n.msg.Seq <= w.loadedTo { // a read from disk was faster
		return
	}
	if n.msg.Seq == n.block.firstSeq {
		if l.paused() || n.block.cost() > max(s.room(), s.part(l)) {
			if w.atTail {
				w.counted, w.behind = true, 0
			}
			w.atTail = false
		}
		if w.atTail {
			s.addBlock(l, n.block.firstSeq, n.block.count, n.block.count, len(n.block.value))
		}
	}
	switch {
	case !w.atTail:
		w.behind += costOf(n.msg, n.payload, n.size)
	case s.passes(n.msg): // a read has shown it before, to somebody who acted on it
		w.loadedTo = n.msg.Seq
	default:
		s.addEntry(l, newEntry(l, n.msg, n.payload))
	}
}

// addEntry makes a held message leasable, the next one of its lane, unless others
// of its ordering key wait aside.
func (s *Spool) addEntry(l *lane, e *entry) {
	l.window.loadedTo = e.msg.Seq
	if !s.joinsAside(l, e.msg) {
		s.bringIn(e)
	}
}

func (s *Spool) addBlock(l *lane, firstSeq uint64, count, live, size int) {
	b := &blockState{firstSeq: firstSeq, count: count, live: live, size: size}
	l.blocks = append(l.blocks, b)
}

// receiptsOf answers an Append. A duplicate's receipt may have to be read.
func (s *Spool) receiptsOf(ctx context.Context, op *appendMessages) ([]message.Receipt, error) {
	out := make([]message.Receipt, 0, len(op.added))
	for _, n := range op.added {
		if n.earlier.seq == 0 {
			out = append(out, n.receipt())
			continue
		}
		r, err := patiently(ctx, s, func() (message.Receipt, error) {
			r, err := s.receiptOf(context.WithoutCancel(ctx), n.earlier.seq)
			if errors.Is(err, ErrNotFound) && !elsewhere(n.earlier.seq) && s.seqOf(n.earlier.id) != n.earlier.seq { // it may have been moved just now
				r, err = s.Receipt(context.WithoutCancel(ctx), n.earlier.id)
			}
			return r, err
		})
		if (errors.Is(err, ErrNotFound) || errors.Is(err, kv.ErrDamaged)) && s.isSettled(n.earlier.seq) {
			r, err = n.earlier.receipt(n.msg.Topic), nil
		}
		if err != nil {
			return nil, fmt.Errorf("append: receipt of a known idempotency key: %w", err)
		}
		r.Duplicate = true
		out = append(out, r)
	}
	return out, nil
}
