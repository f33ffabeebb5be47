package sql

import (
	"context"
	"fmt"

	"github.com/remora-mq/remora/dedupe"
)

// Inspect makes the table, where it is missing, asks the server how it is set, and
// says what that means for marks: nothing, when it keeps every one that it has
// answered for. An error says that the server is not there, or lets nobody in.
func (s *Store) Inspect(ctx context.Context) (weak []dedupe.Weakness, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		weak = nil
		if _, err := s.db.ExecContext(ctx, s.d.finish, int64(0), []byte{}, int64(0)); err != nil {
			return err // the table, and our right to change it
		}
		for _, set := range s.d.settings {
			var value string
			if err := s.db.QueryRowContext(ctx, set.query).Scan(&value); err != nil {
				return err
			}
			if set.weak(value) {
				weak = append(weak, dedupe.Weakness{Text: fmt.Sprintf(set.text, value), Hint: set.hint})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inspect dedupe store: %w", err)
	}
	return weak, nil
}
