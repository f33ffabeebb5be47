package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// A transaction is some half messages, of any topics, that are decided together.
// It has an entry of its own, sp, with all that is known of it but the messages;
// each of these has one as a delayed message has, sy, under a clock that never
// comes. Entries sj lead from its ID, and its idempotency key, to its number, and
// one in the index of due times, sq, tells when it is to be checked, since when it
// is undecided, or when it was decided. None of it is in memory.

// TransactionState is what is decided of a transaction.
type TransactionState byte

// The states of a transaction. What is committed or rolled back stays so.
const (
	TransactionHalf       TransactionState = iota // it waits for its decision
	TransactionUndecided                          // and nobody is asked any more: an operator decides
	TransactionCommitted                          // all of its messages have become pending, or delayed
	TransactionRolledBack                         // none has, nor will
)

var transactionStates = [...]string{"half", "undecided", "committed", "rolled_back"}

// Decided reports whether a transaction in that state never changes any more.
func (x TransactionState) Decided() bool { return x >= TransactionCommitted }

// String returns the word used in JSON, metrics and logs.
func (x TransactionState) String() string {
	if int(x) >= len(transactionStates) {
		return fmt.Sprintf("transaction state(%d)", x)
	}
	return transactionStates[x]
}

// MarshalText is String.
func (x TransactionState) MarshalText() ([]byte, error) { return []byte(x.String()), nil }

// ParseTransactionState reads the word that String writes.
func ParseTransactionState(name string) (TransactionState, error) {
	i := slices.Index(transactionStates[:], name)
	if i < 0 {
		return 0, fmt.Errorf("no state of a transaction is named %q", name)
	}
	return TransactionState(i), nil
}

// Check says how the application is asked for the decision of a transaction. The
// spool keeps it, and when that is due; whoever asks is told by DueChecks.
type Check struct {
	URL      string
	After    time.Duration // from prepare to the first one
	Interval time.Duration // from one to the next
	Most     int           // so many that bring no decision leave it undecided
	// Exhausted is what becomes of it then: TransactionUndecided, or a decision.
	Exhausted TransactionState
}

// Transaction is what is known of one, as it stands.
type Transaction struct {
	ID         string
	Key        string // idempotency key of the whole; "": none
	State      TransactionState
	PreparedAt time.Time
	Check      Check
	Messages   []message.ID // as they were prepared

	Checks      int       // check-backs that brought no decision
	LastCheck   string    // what the last of them brought
	NextCheckAt time.Time // of the wall clock; zero: it is not asked for any more

	EndedAt   time.Time // since when it is in its state, if that is not half
	DecidedBy string    // who decided, or left it undecided
	Duplicate bool      // Prepare found it
	// Receipts are those of its messages, in order, which are as the transaction is:
	// half, or none of them. A list, and a Transaction that was just prepared, has none.
	Receipts []message.Receipt

	Half *BrokerHalf // of mode broker; nil: half here alone

	number      uint64
	fingerprint [16]byte
	at          uint64        // of its entry in the index, by its clock
	fresh       []*newMessage // its messages, of one that was not read (fresh.go)
}

// clock is that of its entry in the index.
func (t *Transaction) clock() dueClock {
	switch {
	case t.State == TransactionHalf:
		return clockCheck
	case t.State == TransactionUndecided:
		return clockUndecided
	case t.ends():
		return clockEnding
	default:
		return clockDecided
	}
}

func (t *Transaction) due() due { return due{t.clock(), t.at, t.number} }

// Errors of the calls that name a transaction.
var (
	// ErrNoTransaction: none of that ID is open, nor kept since it was decided.
	ErrNoTransaction = errors.New("no such transaction")
	// ErrTransactionExists: the ID is that of another transaction.
	ErrTransactionExists = errors.New("the ID is that of another transaction")
	// ErrDecided: the opposite was decided, and stands. See DecidedError.
	ErrDecided = errors.New("the transaction is decided otherwise")
)

// DecidedError tells the decision that stands.
type DecidedError struct{ Stands TransactionState }

func (e *DecidedError) Error() string { return fmt.Sprintf("the transaction is %s", e.Stands) }

// Is makes it an ErrDecided.
func (e *DecidedError) Is(target error) bool { return target == ErrDecided }

// Bounds of the texts of a transaction, in bytes; its idempotency key is as short
// as its ID.
const (
	MaxTransactionID = 255
	MaxCheckURL      = 2048
)

// encode appends the value of its entry to b, which is empty.
func (t *Transaction) encode(b []byte) []byte {
	b = append(b, byte(t.State), byte(t.Check.Exhausted))
	b = append(b, t.fingerprint[:]...)
	for _, text := range [...]string{t.ID, t.Key, t.Check.URL, t.LastCheck, t.DecidedBy} {
		b = appendText(b, text)
	}
	for _, n := range [...]uint64{
		t.at, millis(t.PreparedAt), millis(t.EndedAt), uint64(t.Check.After.Milliseconds()), uint64(t.Check.Interval.Milliseconds()),
		uint64(t.Check.Most), uint64(t.Checks), uint64(len(t.Messages)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, id := range t.Messages {
		b = append(b, id[:]...)
	}
	if t.Half != nil {
		b = t.Half.append(b)
	}
	return seal(b)
}

func decodeTransaction(number uint64, v []byte) (*Transaction, error) {
	b, err := unseal(v)
	if err != nil {
		return nil, fmt.Errorf("read transaction: %w", err)
	}
	f := fields{b: b}
	t := &Transaction{number: number, State: TransactionState(f.raw(1)[0])}
	t.Check.Exhausted = TransactionState(f.raw(1)[0])
	copy(t.fingerprint[:], f.raw(len(t.fingerprint)))
	for _, text := range [...]*string{&t.ID, &t.Key, &t.Check.URL, &t.LastCheck, &t.DecidedBy} {
		*text = f.text()
	}
	t.at = f.uint()
	t.PreparedAt, t.EndedAt = f.time(), f.time()
	if t.EndedAt.UnixMilli() == 0 {
		t.EndedAt = time.Time{}
	}
	t.Check.After, t.Check.Interval = f.millis(), f.millis()
	t.Check.Most, t.Checks = int(f.uint()), int(f.uint())
	for n := f.uint(); n > 0 && !f.failed; n-- {
		t.Messages = append(t.Messages, message.ID(f.raw(len(message.ID{}))))
	}
	if len(f.b) > 0 {
		t.Half = readBrokerHalf(&f)
	}
	f.failed = f.failed || t.State > TransactionRolledBack || t.Check.Exhausted > TransactionRolledBack || t.ID == ""
	return t, f.err("read transaction")
}

func (f *fields) millis() time.Duration { return time.Duration(f.uint()) * time.Millisecond }

// size bounds its entry, as long as it is kept, whatever becomes of it.
func (t *Transaction) size() int {
	const fixed = 2 + 16 + 5*3 + 8*binary.MaxVarintLen64 + 2*maxDetail
	return fixed + len(t.ID) + len(t.Key) + len(t.Check.URL) + len(t.Messages)*len(message.ID{}) + t.Half.size()
}

// room bounds what a commit writes of it: itself, its names, and its place in the
// index, one that goes and one that comes.
func (t *Transaction) room() int {
	const each = deleteSize + 2*valueOverhead
	return fixedSize + t.size() + valueOverhead + 6*each
}

func transactionKey(number uint64) []byte { return key64(transactionPrefix, number) }

// write notes the transaction as it is now, in place of what it was.
func (t *Transaction) write(c *commit, was due) {
	if t.Half != nil {
		c.needs(formatBrokerHalf)
	}
	c.s.transactions.fresh.drop(t.ID)
	if was.seq > 0 {
		c.s.transactions.count(was.clock, -1)
		if was != t.due() {
			c.deletes = append(c.deletes, was.key())
		}
	}
	c.s.transactions.count(t.clock(), 1)
	c.sets = append(c.sets, pair{transactionKey(t.number), t.encode(c.take(t.size()))}, pair{t.due().key(), nothing})
}
