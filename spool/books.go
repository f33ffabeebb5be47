package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// books is everything that can be read, to find what is missing: Open makes
// them when there is a doubt. They are read in one view; nothing is written
// meanwhile.
type books struct {
	*Spool
	r        kv.Reader
	accounts map[uint32]*account
	held     settledSet       // readable, and neither settled nor moved
	runs     []run            // what blocks and indexes say of sequences, by the first
	topicOf  map[uint64]*lane // of records that have lost their payload
	loose    map[uint64]uint32
	highest  uint64                  // sequence that anything tells of
	payloads seqSet                  // stored apart, and kept for a resend
	decided  map[uint64]*Transaction // and those that are not, by number
	marks    *marks                  // nil: those of what ended otherwise than confirmed are all there

	noted []string // what is not as it should be, and costs nothing

	// To be written.
	ranges  map[uint64]bool
	sets    []pair
	deletes [][]byte
}

func newBooks(s *Spool) *books {
	return &books{
		Spool: s, accounts: map[uint32]*account{}, held: settledSet{ranges: map[uint64]*bitmap{}},
		topicOf: map[uint64]*lane{}, loose: map[uint64]uint32{}, ranges: map[uint64]bool{}, payloads: newSeqSet(), decided: map[uint64]*Transaction{},
	}
}

// account is a topic as it was read.
type account struct {
	*lane
	was               string // its entry
	rebuilt           bool   // its entry could not be read
	again             uint64 // settled, and not known to be any more
	held, dead, bytes uint64
	delayed, expiring uint64
	half              uint64
	missing           uint64
	excepted          uint64
	firstBlock        uint64
	given             map[message.SpoolID]uint64 // the highest number of what was read, by origin
}

// saw notes the number of a record: the counters may be of an earlier commit.
func (a *account) saw(r message.Record) {
	if a.given == nil {
		a.given = map[message.SpoolID]uint64{}
	}
	a.given[r.ID.Spool()] = max(a.given[r.ID.Spool()], r.TopicSeq)
}

// run is a block: what its index, its records, or both say.
type run struct {
	index
	first   uint64
	indexed bool // by the index
	read    bool // by the block
}

func (b *books) read(r kv.Reader) error {
	b.r = r
	if err := b.looseChunks(); err != nil {
		return err
	}
	b.marks = b.lostMarks()
	for id, l := range b.byID {
		b.accounts[id] = &account{lane: l, was: string(l.encode())}
	}
	for _, walk := range []struct {
		prefix []byte
		visit  func(k, v []byte) error
	}{
		{receiptPrefix, b.ending}, {exceptPrefix, b.endedOtherwise}, {importPrefix, b.whereabouts}, {deadPrefix, b.deadLetter}, {againPrefix, b.redrive}, {transactionPrefix, b.transaction}, {namePrefix, b.nameOrPlace}, {placePrefix(clockCheck), b.nameOrPlace}, {placePrefix(clockUndecided), b.nameOrPlace}, {placePrefix(clockDecided), b.nameOrPlace}, {placePrefix(clockEnding), b.nameOrPlace}, {delayedPrefix, b.delayedMessage}, {indexPrefix, b.index}, {blockPrefix, b.block}, {receiptPrefix, b.receiptPart},
		{exceptPrefix, b.exceptions}, {retainPrefix, b.kept}, {chunkSetPrefix, b.unkept}, {barPrefix, b.bar}, {pausePrefix, b.pause},
	} {
		if err := b.each(walk.prefix, walk.visit); err != nil {
			return err
		}
	}
	return nil
}

// each is scanAll in the books' view. An entry that is doubted here is deleted:
// the evidence is kept elsewhere.
func (b *books) each(prefix []byte, visit func(k, v []byte) error) error {
	return b.r.Scan(kv.Scan{Prefix: prefix, Whole: true}, func(k, v []byte) (bool, error) {
		err := errDamaged
		if fits(k) {
			err = visit(k, v)
		}
		if isNewer(err) {
			return false, err
		}
		if err != nil {
			b.doubt(k, v, err)
			b.deletes = append(b.deletes, b.doubts[len(b.doubts)-1].key)
		}
		return true, b.life.Err()
	})
}

// accountOf returns that of a topic. When its entry could not be read it is
// made anew, under the number that a message is filed under if nobody has that.
func (b *books) accountOf(id uint32, topic string) *account {
	if l := b.lanes[topic]; l != nil {
		return b.accounts[l.id]
	}
	if b.byID[id] != nil {
		id = b.head.topics + 1
	}
	b.head.topics = max(b.head.topics, id)
	a := &account{lane: newLane(id, topic), rebuilt: true}
	b.accounts[id] = a
	b.addLane(a.lane)
	b.notef("topic %q: its counters are gone, and made from what was read", topic)
	return a
}

func (b *books) notef(format string, args ...any) {
	if len(b.noted) < maxFound {
		b.noted = append(b.noted, fmt.Sprintf(format, args...))
	}
}

// hold counts a record that is not settled; false: its payload cannot be read.
func (b *books) hold(a *account, r message.Record) bool {
	b.topicOf[r.Seq] = a.lane
	if r.PayloadSize > 0 && !b.payload(r) {
		return false
	}
	delete(b.topicOf, r.Seq)
	b.held.set(r.Seq)
	a.held++
	a.bytes += uint64(heldSize(r))
	b.leadTo(&r.Message)
	b.countMoved(a, r.ID, r.Seq)
	b.expires(a, r)
	return true
}

func (b *books) deadLetter(k, v []byte) error {
	id, seq := tail32(k, len(deadPrefix)), tail64(k, len(deadPrefix)+4)
	b.highest = max(b.highest, seq)
	d, err := decodeDead(v)
	if err == nil && d.record.Seq != seq {
		err = errDamaged
	}
	if err != nil {
		b.forgetLetter(seq) // its record may still stand in its block
		return err
	}
	a := b.accountOf(id, d.record.Topic)
	a.saw(d.record)
	if b.settled.has(seq) { // its deletion is lost
		b.deletes = append(b.deletes, bytes.Clone(k))
		return nil
	}
	if !b.hold(a, d.record) {
		b.forgetLetter(seq)
		return errPayload
	}
	if rd := b.redriven[seq]; rd != nil {
		rd.lane = a.lane
	} else {
		b.dead[seq] = a.lane
		a.dead++
	}
	if a.id != id {
		b.move(k, deadKey(a.id, seq), v)
	}
	return nil
}

var errPayload = errors.New("its payload cannot be read")

// move files an entry under another key.
func (b *books) move(from, to, v []byte) {
	b.notef("%s: it belongs to %s", nameOf(from), nameOf(to))
	b.sets = append(b.sets, pair{to, bytes.Clone(v)})
	b.deletes = append(b.deletes, bytes.Clone(from))
}

func (b *books) index(k, v []byte) error {
	first := tail64(k, len(indexPrefix))
	x, err := decodeIndex(v)
	if err != nil {
		return err
	}
	b.highest = max(b.highest, first+uint64(x.count)-1)
	b.runs = append(b.runs, run{index: x, first: first, indexed: true})
	return nil
}

// block counts what can be read of a block. A damaged one stays where it is:
// what is lost of it is settled, and with the last of the others it goes. One
// that is filed under a wrong key moves.
func (b *books) block(k, v []byte) error {
	w := blockWalk{books: b, key: k, first: tail64(k, len(blockPrefix)+4)}
	w.next = w.first
	err := records(v, w.record)
	a, x := w.account, w.index
	if a == nil {
		return cmp.Or(err, errDamaged)
	}
	if w.moved {
		b.move(k, blockKey(a.id, w.first), v)
	}
	if a.firstBlock == 0 || w.first < a.firstBlock {
		a.firstBlock = w.first
	}
	b.highest = max(b.highest, w.next-1)
	x.topic, x.count = a.id, int(w.next-w.first)
	r := b.matchIndex(run{index: x, first: w.first, read: true}, err != nil)
	if err != nil && b.lacks(r) { // else nothing of it is missing any more
		b.doubt(k, v, err)
	}
	return nil
}

// blockWalk takes the records of one block.
type blockWalk struct {
	*books
	key         []byte
	account     *account
	index       index
	first, next uint64
	moved       bool
}

func (w *blockWalk) record(r message.Record) {
	if w.account == nil {
		id := tail32(w.key, len(blockPrefix))
		w.account = w.accountOf(id, r.Topic)
		if w.moved = w.account.id != id || r.Seq < w.first; w.moved {
			w.first, w.next = r.Seq, r.Seq
		}
	}
	if r.Seq < w.next || r.Topic != w.account.topic {
		return // records of one block are of one topic and ascend: this is no record of ours
	}
	if x := &w.index; x.number == 0 && r.TopicSeq > 0 {
		x.origin, x.number = r.ID.Spool(), r.TopicSeq-(r.Seq-w.first)
	}
	w.next = r.Seq + 1
	w.marks.meet(r.Seq)
	w.account.saw(r)
	w.needs(&r.Message)                                    // also one that is settled: its block may be kept
	if !w.settled.has(r.Seq) && !w.books.held.has(r.Seq) { // else settled, or a dead letter
		w.hold(w.account, r)
		w.unbar(r.Seq)
	}
}

// lacks reports whether any sequence of a run is neither held nor settled.
func (b *books) lacks(r run) bool {
	for seq := r.first; seq < r.first+uint64(r.count); seq++ {
		if !b.held.has(seq) && !b.settled.has(seq) {
			return true
		}
	}
	return false
}

// matchIndex joins what block and index say of a run. Of a block that is
// damaged the index may know of more.
func (b *books) matchIndex(r run, damaged bool) run {
	i, found := slices.BinarySearchFunc(b.runs, r.first, func(x run, first uint64) int {
		return int(min(max(int64(x.first)-int64(first), -1), 1))
	})
	if found && b.runs[i].indexed && b.runs[i].covers(r.index, damaged) {
		b.runs[i].read = true
		return b.runs[i]
	}
	if !damaged {
		b.notef("%s: it is not that of the block", nameOf(indexKey(r.first)))
	}
	b.sets = append(b.sets, pair{indexKey(r.first), r.encode()})
	if found {
		b.runs[i] = r
	} else {
		b.runs = slices.Insert(b.runs, i, r)
	}
	return r
}

// ending takes from receipts which sequences are settled, before records are
// looked at: a bitmap may be lost.
func (b *books) ending(_, v []byte) error {
	_ = receipts(v, func(r receipt) bool { // receiptPart doubts it
		b.end(r.seq, "receipt")
		b.marks.confirmed(&r)
		return true
	})
	return nil
}

// receiptPart counts the receipts of topics whose counters are lost. That of a message
// for a broker's timer tells of what may be kept of it.
func (b *books) receiptPart(_, v []byte) error {
	return receipts(v, func(r receipt) bool {
		if flagsOf(&r)&receiptTimed != 0 {
			b.head.format = max(b.head.format, formatTimer)
		}
		if b.lanes[r.Topic] == nil {
			b.accountOf(b.head.topics+1, r.Topic)
		}
		if a := b.accounts[b.lanes[r.Topic].id]; a.rebuilt && r.State.Settled() {
			*a.counts.of(r.State)++
			b.countMoved(a, r.ID, r.seq)
		}
		return true
	})
}

// payload reports whether a payload that is stored apart can be read. When the
// entry that says where it is cannot, its chunks are looked for.
func (b *books) payload(r message.Record) bool {
	p, err := b.placeOf(r)
	if err == nil && b.reads(r, p) {
		return true
	}
	for set, chunks := range b.loose {
		found := payload{set: set, chunks: chunks}
		if b.reads(r, found) {
			b.notef("%s: the payload was found by its checksum", nameOf(chunkSetKey(r.Seq)))
			b.sets = append(b.sets, pair{chunkSetKey(r.Seq), found.encode()})
			b.Spool.sets[set] = true
			delete(b.loose, set)
			return true
		}
	}
	b.lose(r, p)
	return false
}

func (b *books) placeOf(r message.Record) (p payload, err error) {
	v, err := b.r.Get(chunkSetKey(r.Seq))
	if err == nil {
		p.set, p.chunks, err = decodeChunkSet(v)
	}
	return p, err
}

func (b *books) reads(r message.Record, p payload) bool {
	body := make([]byte, 0, r.PayloadSize)
	for _, key := range p.keys() {
		v, err := b.r.Get(key)
		if err == nil {
			v, err = unseal(v)
		}
		if err != nil || len(body)+len(v) > r.PayloadSize {
			return false
		}
		body = append(body, v...)
	}
	if r.SetPayload(body) != nil {
		return false
	}
	b.needs(&r.Message)
	return true
}

// lose keeps what is left of a payload as evidence, and lets it be swept.
func (b *books) lose(r message.Record, p payload) {
	for _, key := range append(p.keys(), chunkSetKey(r.Seq)) {
		if v, err := b.r.Get(key); err == nil {
			b.doubt(key, v, fmt.Errorf("sequence %d: %w", r.Seq, errPayload))
		}
	}
	b.deletes = append(b.deletes, chunkSetKey(r.Seq))
	delete(b.Spool.sets, p.set)
}

// endedOtherwise does with exceptions what ending does with receipts.
func (b *books) endedOtherwise(_, v []byte) error {
	all, _ := decodeExceptions(v) // exceptions doubts it
	for _, e := range all {
		b.end(e.seq, "exception")
	}
	return nil
}

// end settles a sequence of which something tells that it is.
func (b *books) end(seq uint64, what string) {
	b.highest = max(b.highest, seq)
	if seq > 0 && !b.settled.has(seq) {
		b.ranges[b.settled.set(seq)] = true
		b.notef("sequence %d: it is settled by its %s alone", seq, what)
	}
}

// exceptions counts the numbers that ended otherwise than confirmed.
func (b *books) exceptions(k, v []byte) error {
	all, err := decodeExceptions(v)
	if err != nil {
		return err
	}
	a := b.accounts[tail32(k, len(exceptPrefix)+8)]
	if a == nil {
		return errNoTopic
	}
	if len(all) != exceptionCount(k) {
		return errDamaged
	}
	a.excepted += uint64(len(all))
	return nil
}

// looseChunks finds the sets of chunks that no entry names.
func (b *books) looseChunks() error {
	return b.r.Scan(kv.Scan{Prefix: chunkPrefix, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		if fits(k) && !b.Spool.sets[tail64(k, len(chunkPrefix))] {
			b.loose[tail64(k, len(chunkPrefix))]++
		}
		return true, b.life.Err()
	})
}
