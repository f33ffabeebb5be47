package kv

import (
	"context"
	"errors"
	"fmt"
)

// Verify reads every block of every table and every log of a database that
// nobody has open, and returns what is broken in them. It changes nothing but the
// PID in the file of the lock: Open would salvage. The errors are ErrLocked, ErrFormat, and those of reading.
func Verify(ctx context.Context, opts Options) (found []Finding, err error) {
	opts = opts.withDefaults()
	dir, err := openDirectory(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("verify database in %s: %w", opts.Dir, err)
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	if _, err := dir.checkManifest(opts.Magic); err != nil && !errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("verify database in %s: %w", opts.Dir, err)
	}
	all, err := dir.inspect(true, opts.Magic)
	if err != nil {
		return nil, fmt.Errorf("verify database in %s: %w", opts.Dir, err)
	}
	return all.found, nil
}
