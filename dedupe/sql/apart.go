package sql

import (
	"context"
	"database/sql"
	"slices"

	"github.com/remora-mq/remora/dedupe"
)

// asked is the database, or a transaction of it.
type asked interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// doneApart reports whether f is done by a row of its own. r is that of its key.
func (s *Store) doneApart(ctx context.Context, from asked, k dedupe.Key, f dedupe.Fingerprint, r *record) (bool, error) {
	if !r.full() || r.isDone(f) {
		return false, nil
	}
	hash, n := k.With(f).Hash(), 0
	err := from.QueryRowContext(ctx, s.d.isApart, hash[:], f[:]).Scan(&n)
	return n == 1, err
}

// putApart writes the rows of contents for which that of their key has no room. The
// window of each begins anew: when it was done is not known any more.
func (s *Store) putApart(ctx context.Context, tx *sql.Tx, k dedupe.Key, r *record) error {
	for one := range slices.Chunk(r.apart, len(r.effect)) {
		hash := k.With(dedupe.Fingerprint(one)).Hash()
		if _, err := tx.ExecContext(ctx, s.d.apart, hash[:], one, one, r.expires); err != nil {
			return err
		}
	}
	return nil
}
