package spool

import (
	"errors"

	"github.com/remora-mq/remora/internal/kv"
)

// passOver counts what cannot be read up to a sequence, once.
func (l *lister) passOver(seq uint64) {
	if l.at.seq < seq {
		l.page.Unreadable++
		l.at.seq = seq
	}
}

// scan visits entries until the page is full; done: it came to the end.
func (l *lister) scan(over kv.Scan, visit func(k, v []byte) error) (done bool, err error) {
	done, over.Whole, over.Around = true, true, func(error) { l.page.Unreadable++ }
	err = l.r.Scan(over, func(k, v []byte) (bool, error) {
		if l.full() {
			done = false
			return false, nil
		}
		if err := l.ctx.Err(); err != nil {
			return false, err
		}
		err := visit(k, v)
		if full := errors.Is(err, errPageFull); full || errors.Is(err, errBeyond) {
			done = !full
			return false, nil
		}
		return true, err
	})
	if errors.Is(err, kv.ErrDamaged) { // the page has what can be read
		l.page.Unreadable++
		err = nil
	}
	return done, err
}

// errPageFull: the page ended within an entry. errBeyond: nothing behind is asked for.
var (
	errPageFull = errors.New("page is full")
	errBeyond   = errors.New("beyond what is asked for")
)

// beginsAt returns the sequence of the last entry not above key, which is the next one to
// be listed, or 0. Where that cannot be read it is what key names.
func (l *lister) beginsAt(prefix, key []byte) (seq uint64, err error) {
	err = l.r.Scan(kv.Scan{Prefix: prefix, From: key, Reverse: true, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		seq = tail64(k, len(prefix))
		return false, nil
	})
	if errors.Is(err, kv.ErrDamaged) {
		return tail64(key, len(prefix)), nil
	}
	return seq, err
}
