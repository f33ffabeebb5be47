package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// Store is a dedupe.Store.
type Store struct {
	*shared

	window time.Duration
}

// shared is what the stores of all windows have in common.
type shared struct {
	o      Options
	d      *dialect
	db     *sql.DB
	claims dedupe.Claims
	calls  dedupe.Calls // and the sweeper
	stop   context.CancelFunc
}

var _ dedupe.Store = (*Store)(nil)

// Open makes a store. It does not connect: a server that is down is waited for by
// whoever asks the store.
func Open(o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	o = o.withDefaults()
	d, known := dialects[o.Driver]
	if !known {
		return nil, fmt.Errorf("open dedupe store: the driver %q is neither %s nor %s", o.Driver, Postgres, MySQL)
	}
	db, err := d.open(o)
	if err != nil {
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	db.SetMaxOpenConns(o.Connections)
	db.SetMaxIdleConns(o.Connections)
	db.SetConnMaxIdleTime(time.Minute)
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{&shared{o: o, d: d, db: db, stop: stop}, o.Window}
	s.calls.Go(func() { s.sweepLoop(ctx) })
	return s, nil
}

// Within is the same store for those who keep marks for another window, at least
// 1 s. Close of either closes both.
func (s *Store) Within(window time.Duration) dedupe.Store { return &Store{s.shared, window} }

// Close waits for running calls; later ones answer dedupe.ErrClosed.
func (s *Store) Close() error {
	s.calls.Close()
	s.stop()
	s.calls.Wait()
	return s.db.Close()
}

// Failing reports whether the last call got no answer, or a refusal.
func (s *Store) Failing() bool { return s.calls.Failing() }

// Begin implements dedupe.Store.
func (s *Store) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (m dedupe.Mark, err error) {
	claim := s.claims.Take(k, f)
	lease = min(lease, s.window)
	err = s.call(ctx, func(ctx context.Context) (err error) {
		m, err = s.begin(ctx, k, f, int64(claim), lease)
		return err
	})
	if err == nil {
		m, err = dedupe.Whole(ctx, s, k, m, lease)
	}
	if err != nil {
		s.claims.Lost(k, f, claim)
		return dedupe.Mark{}, fmt.Errorf("begin dedupe mark: %w", err)
	}
	return m, nil
}

// begin inserts the row, or changes the one that is there. One that is deleted
// between the two is inserted by the next try.
func (s *Store) begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, claim int64, lease time.Duration) (m dedupe.Mark, err error) {
	hash, since := k.Hash(), time.Now()
	if _, err := s.db.ExecContext(ctx, s.d.insert, hash[:], claim, lease.Milliseconds(), f[:], []byte{}, s.window.Milliseconds()); err != nil {
		return m, err
	}
	begin := func(from asked, r *record, now int64) (bool, error) {
		if apart, err := s.doneApart(ctx, from, k, f, r); err != nil || apart {
			m = dedupe.Mark{Verdict: dedupe.Repeat}
			return false, err
		}
		was := r.token
		m.Verdict, m.Conflict = r.begin(f, claim, now, lease.Milliseconds(), s.window.Milliseconds())
		m.Attempt = r.attempts
		m.Until = since.Add(time.Duration(r.ends-now/1000) * time.Millisecond)
		if m.Verdict == dedupe.Begun {
			m.Token = uint64(r.token)
		}
		return r.token != was, nil
	}
	// Most often the row says all: it is ours, somebody else's, or done.
	r, now, err := readMark(s.db.QueryRowContext(ctx, s.d.read, hash[:]))
	if err != nil {
		return m, err
	}
	if write, err := begin(s.db, &r, now); err != nil || !write {
		return m, err
	}
	return m, s.change(ctx, k, begin)
}

// Extend implements dedupe.Store.
func (s *Store) Extend(ctx context.Context, k dedupe.Key, m dedupe.Mark, lease time.Duration) error {
	lease = min(lease, s.window)
	return s.settle(ctx, "extend", k, m, func(r *record, now int64) bool {
		r.ends = now/1000 + lease.Milliseconds()
		return r.held
	})
}

// Done implements dedupe.Store.
func (s *Store) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	hash, written := k.Hash(), int64(0)
	err := s.call(ctx, func(ctx context.Context) error {
		res, err := s.db.ExecContext(ctx, s.d.finish, s.window.Milliseconds(), hash[:], int64(m.Token))
		if err == nil {
			written, err = res.RowsAffected()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("finish dedupe mark: %w", err)
	}
	if written == 1 {
		return nil
	}
	return s.settle(ctx, "finish", k, m, func(r *record, _ int64) bool {
		r.finish()
		return true
	})
}

// Release implements dedupe.Store.
func (s *Store) Release(ctx context.Context, k dedupe.Key, m dedupe.Mark, counts bool) error {
	return s.settle(ctx, "release", k, m, func(r *record, _ int64) bool {
		r.free(counts)
		return true
	})
}

// Forget implements dedupe.Store.
func (s *Store) Forget(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	return s.settle(ctx, "forget", k, m, func(r *record, _ int64) bool {
		r.forget()
		return true
	})
}

// settle changes the mark if m's holder was the last one to begin it.
func (s *Store) settle(ctx context.Context, verb string, k dedupe.Key, m dedupe.Mark, change func(*record, int64) bool) error {
	fenced := false
	err := s.call(ctx, func(ctx context.Context) error {
		err := s.change(ctx, k, func(_ asked, r *record, now int64) (bool, error) {
			fenced = m.Token == 0 || r.token != int64(m.Token) || now/1000 >= r.expires || !change(r, now)
			r.expires = now/1000 + s.window.Milliseconds()
			return !fenced, nil
		})
		if errors.Is(err, sql.ErrNoRows) {
			fenced, err = true, nil
		}
		return err
	})
	if err == nil && fenced {
		err = dedupe.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s dedupe mark: %w", verb, err)
	}
	return nil
}

// change reads a row under its lock, and writes it where do says so. now is the
// server's clock, in µs.
func (s *Store) change(ctx context.Context, k dedupe.Key, do func(from asked, r *record, now int64) (write bool, err error)) error {
	hash := k.Hash()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing, after a commit
	r, now, err := readMark(tx.QueryRowContext(ctx, s.d.lock, hash[:]))
	if err != nil {
		return err
	}
	if write, err := do(tx, &r, now); err != nil || !write {
		return err
	}
	held := 0
	if r.held {
		held = 1
	}
	_, err = tx.ExecContext(ctx, s.d.update, held, r.claim, r.token, r.ends, r.attempts, r.effect[:], append([]byte{}, r.done...), r.expires, hash[:])
	if err == nil {
		err = s.putApart(ctx, tx, k, &r)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// readMark reads what the statements read and lock ask for.
func readMark(row *sql.Row) (r record, now int64, err error) {
	var effect []byte
	err = row.Scan(&r.held, &r.claim, &r.token, &r.ends, &r.attempts, &effect, &r.done, &r.expires, &now)
	copy(r.effect[:], effect)
	return r, now, err
}
