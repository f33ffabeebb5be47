package spool

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/remora-mq/remora/message"
)

// Exported tells what an export has, and has not.
type Exported struct {
	Messages   int
	Unreadable int // places that are damaged, which Audit names
}

// Export writes what a query asks for to w, in the form of exportline.go. It ends
// with the trailer only when all of it was written. A message that becomes a
// dead letter meanwhile may be there twice. Settled messages have no export: ErrExport. Idempotency keys are not exported.
func (s *Spool) Export(ctx context.Context, w io.Writer, q Query) (done Exported, err error) {
	if slices.ContainsFunc(q.States, message.State.Settled) {
		return done, fmt.Errorf("export settled messages: %w", ErrExport)
	}
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)
	header, err := json.Marshal(headerLine{exportVersion, s.ID().String(), s.now().UTC()})
	if err != nil {
		return done, err
	}
	if _, err := buffered.Write(append(header, '\n')); err != nil {
		return done, fmt.Errorf("export: %w", err)
	}
	q.Content = true
	var line []byte
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return done, fmt.Errorf("export: %w", err)
		}
		done.Unreadable += page.Unreadable
		for i := range page.Items {
			x := exportedOf(&page.Items[i])
			if line, err = appendLine(line[:0], &x); err != nil {
				return done, fmt.Errorf("export message %s: %w", x.ID, err)
			}
			if _, err := buffered.Write(line); err != nil {
				return done, fmt.Errorf("export: %w", err)
			}
			done.Messages++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if err := buffered.Flush(); err != nil {
		return done, fmt.Errorf("export: %w", err)
	}
	_, err = fmt.Fprintf(w, "{\"messages\":%d,\"sha256\":\"%x\"}\n", done.Messages, sum.Sum(nil))
	return done, err
}
