package spool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// TransactionDraft is a transaction that asks to be prepared.
type TransactionDraft struct {
	ID string // "": one is drawn
	// Key makes a second Prepare of the same key return the first one's transaction.
	// "": none. None of the messages has a key of its own.
	Key string
	// Fingerprint tells the same content from other content under one ID or key.
	Fingerprint [16]byte
	Check       Check
	Messages    []Draft // at least one
	// AtBroker: a broker is to have a half message, too. There is one message then,
	// that asks for no delay, TTL or order.
	AtBroker bool
}

// preparation is a transaction on its way to the disk.
type preparation struct {
	*Transaction

	owned    *owned
	imported bool       // prepared before, and elsewhere
	all      []nameHash // names that lead to it
	chosen   []nameHash // those of them that may be another transaction's
	taken    error      // one of them is, or could not be looked for
}

// errNameTaken: a transaction of that ID or idempotency key is known.
var errNameTaken = errors.New("the name is that of a known transaction")

// prepareRounds bounds how often a prepare is made anew because the transaction that had
// its name was forgotten meanwhile: each is a commit.
const prepareRounds = 4

// Prepare makes the messages of a transaction durable as half messages, all or none
// of them, with the transaction itself, and returns their receipts in order. When it
// returns nil they are on stable storage, and none is forwarded before the
// transaction is committed; a crash before that leaves all or nothing.
//
// A draft whose ID or key was prepared before with the same fingerprint stores
// nothing: it returns that transaction as it stands now, with Duplicate set.
//
// Errors: those of Append, of which ErrKeyReused says that the key belongs to other
// content; ErrTransactionExists; a *DecidedError when the ID belongs to a transaction
// that was rolled back: its key is free, its ID is not.
func (s *Spool) Prepare(ctx context.Context, d TransactionDraft) (Transaction, []message.Receipt, error) {
	for range prepareRounds {
		t, receipts, err := s.prepareOnce(ctx, d)
		if err == nil || errors.Is(err, ErrUnknown) || d.ID == "" && d.Key == "" {
			return t, receipts, err
		}
		if errors.Is(err, ErrBusy) || ctx.Err() != nil { // a former call may have prepared it; the disk that would know does not answer
			return Transaction{}, nil, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		known, failed := s.preparedBefore(ctx, d) // it is told of, whatever keeps others from being prepared
		switch {
		case failed != nil:
			return Transaction{}, nil, fmt.Errorf("prepare: %w", failed)
		case known != nil:
			return *known, known.Receipts, nil
		case !errors.Is(err, errNameTaken): // else it was forgotten just now
			return Transaction{}, nil, err
		}
	}
	return Transaction{}, nil, fmt.Errorf("prepare: %w", errNameTaken)
}

// prepareOnce takes the draft for a new one. errNameTaken: it is not, or was not.
func (s *Spool) prepareOnce(ctx context.Context, d TransactionDraft) (Transaction, []message.Receipt, error) {
	t := &Transaction{ID: d.ID, Key: d.Key, Check: d.Check, fingerprint: d.Fingerprint}
	if d.AtBroker {
		t.Half = &BrokerHalf{Issued: 1}
	}
	if t.ID == "" {
		t.ID = drawID()
	}
	names := s.names.of(t)
	o, err := s.own(ctx, names...)
	if err != nil {
		return Transaction{}, nil, fmt.Errorf("prepare: %w", err)
	}
	op := newAppend(d.Messages)
	op.half = &preparation{Transaction: t, owned: o, all: names, chosen: d.chosen(names)}
	receipts, err := s.prepareNew(ctx, op)
	if err != nil {
		s.unlessUnknown(o, err)
		return Transaction{}, nil, err
	}
	return *t, receipts, nil
}

// chosen are all names but an ID that was drawn, which is the first.
func (d *TransactionDraft) chosen(all []nameHash) []nameHash {
	if d.ID == "" {
		return all[1:]
	}
	return all
}

func (s *Spool) prepareNew(ctx context.Context, op *appendMessages) ([]message.Receipt, error) {
	op.half.number = s.nextTransaction()
	for _, n := range op.added {
		n.half = op.half.Transaction
	}
	if err := s.neverFits(ctx, op); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, op); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	if size, most := decisionSize(op), s.db.MaxCommit(); size > most {
		s.dropPayloads(op)
		return nil, &TooLargeError{"one commit, which has all messages of a transaction", int64(size), int64(most)}
	}
	if err := s.offer(ctx, op); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	if op.err != nil {
		return nil, op.err
	}
	return s.receiptsOf(ctx, op)
}

func drawID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func (s *Spool) nextTransaction() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transactions.last++
	return s.transactions.last
}

// preparedBefore returns the transaction that a draft repeats, as it stands; nil: it is
// new.
func (s *Spool) preparedBefore(ctx context.Context, d TransactionDraft) (*Transaction, error) {
	var names []nameHash
	for _, n := range [...]struct {
		text string
		hash func(string) nameHash
	}{{d.ID, s.names.ofID}, {d.Key, s.names.ofKey}} {
		if n.text != "" {
			names = append(names, n.hash(n.text))
		}
	}
	o, err := s.own(ctx, names...)
	if err != nil {
		return nil, err
	}
	defer s.unlessUnknown(o, nil)
	t, err := s.repeated(d)
	if t == nil || err != nil {
		return nil, err
	}
	t.Duplicate = true
	return t, s.tellReceipts(ctx, t)
}

// repeated reads the transaction that a draft repeats; nil: it is new. Its names are
// the caller's.
func (s *Spool) repeated(d TransactionDraft) (*Transaction, error) {
	if d.Key != "" {
		t, err := s.named(s.names.ofKey(d.Key))
		switch {
		case err == nil && (t.fingerprint != d.Fingerprint || d.ID != "" && d.ID != t.ID):
			return nil, ErrKeyReused
		case !errors.Is(err, ErrNoTransaction):
			return t, err
		}
	}
	if d.ID == "" {
		return nil, nil //nolint:nilnil // it is new
	}
	t, err := s.named(s.names.ofID(d.ID))
	switch {
	case errors.Is(err, ErrNoTransaction):
		return nil, nil //nolint:nilnil // it is new
	case err != nil:
		return nil, err
	case t.Key != d.Key || t.fingerprint != d.Fingerprint:
		return nil, ErrTransactionExists
	case t.State == TransactionRolledBack:
		return nil, &DecidedError{t.State}
	}
	return t, nil
}

// extra bounds what being half adds to the entry of a delayed message.
func (t *Transaction) extra() int { return 16 + len(t.ID) }

// room is that of a transaction of so many messages, which has their IDs only when it is
// written.
func (p *preparation) room(messages int) int {
	return p.Transaction.room() + (messages-len(p.Messages))*len(message.ID{})
}

// write notes a transaction whose messages have their IDs.
func (p *preparation) write(c *commit, added []*newMessage) {
	p.Messages = make([]message.ID, len(added))
	for i, n := range added {
		p.Messages[i] = n.msg.ID
	}
	if p.imported {
		p.EndedAt, p.at = c.now, c.elapsed
	} else {
		p.PreparedAt, p.at = c.now, c.elapsed+uint64(p.Check.After.Milliseconds())
	}
	if c.s.names.keyed {
		c.needs(formatKeyedNames)
	}
	for _, name := range p.all {
		c.sets = append(c.sets, pair{nameKey(name), encodeName(p.number)})
	}
	p.Transaction.write(c, due{})
}

// look finds out whether a name that was chosen is taken. The committer does: nothing
// else is written meanwhile, and a reader would wait for the commit that is under way
// before it could be queued for the next one.
func (p *preparation) look(r kv.Reader) {
	for _, n := range p.chosen {
		if p.taken = taken(r, n); p.taken != nil {
			return
		}
	}
}

// taken is why a name cannot be given. One that leads to no transaction is free, as it
// is for named: a damage took the transaction.
func taken(r kv.Reader, n nameHash) error {
	v, err := r.Get(nameKey(n))
	if err == nil {
		var number uint64
		if number, err = decodeName(v); err == nil {
			_, err = r.Get(transactionKey(number))
		}
	}
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return errNameTaken
}

// refusal is why it cannot be prepared; of what is no transaction there is none.
func (p *preparation) refusal() error {
	if p == nil {
		return nil
	}
	return p.taken
}

// synced has it checked in time, and lets others find it. s.mu is held.
func (p *preparation) synced(s *Spool, op *appendMessages) {
	stored := op.err == nil
	s.hasImported = s.hasImported || stored && p.imported
	if stored && !p.imported {
		s.schedule(p.due())
		s.tellCheck(p.Transaction)
		s.transactions.fresh.add(p.Transaction, op.added)
	}
	s.disown(p.owned)
}
