package spool

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
)

// A transaction is found by the hashes of its ID and of its idempotency key. They stand
// in keys of the database, which are not encrypted, and what an application takes for an
// ID can be guessed. So with a key ring they are keyed, by a secret that is drawn once
// and lies encrypted, in ss: no other key of the ring changes them.

// nameHash stands for the ID or the idempotency key of a transaction.
type nameHash [16]byte

// names makes the hashes. It does not change once the spool is open.
type names struct {
	keyed  bool // there is a key ring
	secret [sha256.Size]byte
	whole  bool // its entry says that no transaction is found by plain hashes
}

func (n *names) ofID(id string) nameHash   { return n.hash('i', id) }
func (n *names) ofKey(key string) nameHash { return n.hash('k', key) }

func (n *names) hash(kind byte, text string) nameHash {
	if !n.keyed {
		return plainHash(kind, text)
	}
	mac := hmac.New(sha256.New, n.secret[:])
	mac.Write(append([]byte{kind}, text...))
	return nameHash(mac.Sum(nil)[:len(nameHash{})])
}

func plainHash(kind byte, text string) nameHash {
	var room [128]byte // of most
	sum := sha256.Sum256(append(append(room[:0], kind), text...))
	return nameHash(sum[:len(nameHash{})])
}

// of returns those by which t is found. The key of what was rolled back is free for
// another.
func (n *names) of(t *Transaction) (all []nameHash) {
	all = append(make([]nameHash, 0, 2), n.ofID(t.ID))
	if t.Key != "" && t.State != TransactionRolledBack {
		all = append(all, n.ofKey(t.Key))
	}
	return all
}

func nameKey(n nameHash) []byte {
	return append(append(make([]byte, 0, 18), namePrefix...), n[:]...)
}

func encodeName(number uint64) []byte {
	return seal(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+trailer), number))
}

func decodeName(v []byte) (number uint64, err error) {
	b, err := unseal(v)
	if err != nil {
		return 0, fmt.Errorf("read name of a transaction: %w", err)
	}
	f := fields{b: b}
	number = f.uint()
	return number, f.err("read name of a transaction")
}

// secretSize bounds the entry of the secret.
const secretSize = deleteSize + len(names{}.secret) + 1 + trailer + valueOverhead

func (n *names) encode(whole bool) []byte {
	b := append(make([]byte, 0, secretSize), n.secret[:]...)
	if whole {
		return seal(append(b, 1))
	}
	return seal(append(b, 0))
}

// decodeSecret reads all but whether there is a key ring.
func decodeSecret(v []byte) (n names, err error) {
	b, err := unseal(v)
	if err != nil {
		return n, fmt.Errorf("read secret of the names of transactions: %w", err)
	}
	f := fields{b: b}
	copy(n.secret[:], f.raw(len(n.secret)))
	n.whole = f.raw(1)[0] == 1
	return n, f.err("read secret of the names of transactions")
}

var errSecretGone = fmt.Errorf("it is gone, and names of transactions are hashed by it: %w", errDamaged)

// loadNames reads the secret, or draws one. One that is damaged, or gone, is doubted:
// the books have all names written by the new one.
func (s *Spool) loadNames() error {
	found, met := names{}, false
	err := s.scanAll(secretKey, func(_, v []byte) error {
		met = true
		n, err := decodeSecret(v)
		if err == nil {
			found = n
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read secret of the names of transactions: %w", err)
	}
	if s.db.ring == nil {
		return nil
	}
	if found.secret == (names{}.secret) {
		_, _ = rand.Read(found.secret[:]) // it never fails
		found.whole = false
		if !met && s.head.format >= formatKeyedNames {
			s.doubt(secretKey, nil, errSecretGone)
		}
	}
	found.keyed = true
	if s.names = found; s.allKeyed() {
		return nil
	}
	// Names are made of what is read here: what cannot be is to be judged before.
	return s.scanAll(transactionPrefix, func(k, v []byte) error {
		_, err := decodeTransaction(tail64(k, len(transactionPrefix)), v)
		return err
	})
}

// allKeyed reports whether no transaction is found by plain hashes. An older version
// that opened the spool meanwhile has made some; the format was below then.
func (s *Spool) allKeyed() bool { return s.names.whole && s.head.format >= formatKeyedNames }

// keyNames has all transactions found by keyed hashes. It runs while the spool is
// opened: nobody looks for one. A crash leaves it to the next opening, under the same
// secret.
func (s *Spool) keyNames(ctx context.Context) error {
	if !s.names.keyed || s.allKeyed() {
		return nil
	}
	op, some := &keying{names: &s.names}, false
	for p, err := range s.db.pairs(kv.Scan{Prefix: transactionPrefix}) {
		var t *Transaction
		if err == nil {
			t, err = decodeTransaction(tail64(p.key, len(transactionPrefix)), p.value)
		}
		if err == nil {
			err = op.add(s, t)
		}
		if err != nil {
			return fmt.Errorf("write names of transactions by keyed hashes: %w", err)
		}
		if some = true; op.size() < s.sizes.op {
			continue
		}
		if err := s.commit(ctx, op); err != nil {
			return fmt.Errorf("write names of transactions by keyed hashes: %w", err)
		}
		op = &keying{names: &s.names}
	}
	if !some && s.names.whole {
		return nil
	}
	op.last = true
	if err := s.commit(ctx, op); err != nil {
		return fmt.Errorf("write the secret of the names of transactions: %w", err)
	}
	return nil
}

// keying writes the secret, and has some transactions found by its hashes instead of
// plain ones.
type keying struct {
	names *names
	all   []*Transaction
	plain [][]byte // keys
	last  bool
}

// add takes t, and what is there of its plain names: the deletion of one that is not
// would write it.
func (op *keying) add(s *Spool, t *Transaction) error {
	op.all = append(op.all, t)
	for _, n := range (&names{}).of(t) {
		_, err := s.db.Get(nameKey(n))
		if err == nil {
			op.plain = append(op.plain, nameKey(n))
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (op *keying) size() int {
	const each = 2 * (2*deleteSize + valueOverhead) // one that comes and one that goes, for ID and key
	return fixedSize + secretSize + len(op.all)*each
}

func (op *keying) apply(c *commit) {
	for _, t := range op.all {
		c.needs(formatKeyedNames)
		for _, n := range op.names.of(t) {
			c.sets = append(c.sets, pair{nameKey(n), encodeName(t.number)})
		}
	}
	c.deletes = append(c.deletes, op.plain...)
	c.sets = append(c.sets, pair{secretKey, op.names.encode(op.last)})
}

func (*keying) synced(*Spool) {}

// secret checks the entry by which names can be found after the next opening.
func (a *auditor) secret(_, v []byte) error {
	n, err := decodeSecret(v)
	if err == nil && n.secret != a.names.secret {
		err = errors.New("names of transactions are hashed by another")
	}
	a.secretFound = err == nil
	return err
}

func (a *auditor) compareSecret() {
	if a.names.keyed && !a.secretFound {
		a.notef("%s: it cannot be read", nameOf(secretKey))
	}
}
