package peer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/remora-mq/remora/bench/load"
)

// Append is the floor of one writer: append, sync, answer.
type Append struct{}

// Name says what it does.
func (Append) Name() string { return "append + fdatasync" }

// Start creates the file.
func (Append) Start(_ context.Context, dir string) (Running, error) {
	f, err := createLog(dir)
	return &appending{log: f}, err
}

// appending is a file that one connection writes.
type appending struct{ log *log }

func (a *appending) Dial(context.Context) (load.Client, error) { return a, nil }
func (a *appending) Send(body []byte) error                    { return a.log.append(body) }
func (a *appending) Close() error                              { return nil }
func (a *appending) PID() int                                  { return 0 }
func (a *appending) Forget(context.Context) error              { return a.log.truncate() }
func (a *appending) Stop() error                               { return a.log.Close() }

// log is a growing file.
type log struct{ *os.File }

func createLog(dir string) (*log, error) {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return &log{f}, nil
}

func (l *log) append(data []byte) error {
	if _, err := l.Write(data); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if err := fdatasync(l.File); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (l *log) truncate() error {
	if err := l.Truncate(0); err != nil {
		return fmt.Errorf("empty log: %w", err)
	}
	return l.Sync()
}
