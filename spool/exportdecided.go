package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// exportedDecided is a decided transaction in its line: what a call for it is answered.
// Its messages are in lines of their own, if they are held.
type exportedDecided struct {
	exportedHead

	EndedAt   time.Time    `json:"ended_at"`
	DecidedBy string       `json:"decided_by,omitempty"`
	AtBroker  bool         `json:"at_broker,omitempty"` // it is of mode broker, and nothing is left to be told
	Messages  []message.ID `json:"messages"`
}

// decided writes what is known of a decided transaction, where the whole spool is exported.
func (e *exporter) decided(t *Transaction) error {
	if !e.whole || e.version < exportVersionDecided {
		return nil
	}
	e.done.Decided++
	return e.add("decided", &exportedDecided{t.exportedHead(t.State), t.EndedAt.UTC(), t.DecidedBy, t.Half != nil, t.Messages})
}

// decodeDecidedLine reads what a line has of a decided transaction.
func decodeDecidedLine(raw []byte, version int) (line, error) {
	var x exportedDecided
	if err := strict(raw, &x); err != nil {
		return line{}, err
	}
	if err := x.check(version); err != nil {
		return line{}, fmt.Errorf("%w: decided transaction: %w", ErrExport, err)
	}
	t := x.transaction()
	t.State, _ = ParseTransactionState(x.State) // checked
	t.EndedAt, t.DecidedBy, t.Messages = x.EndedAt.Truncate(time.Millisecond), x.DecidedBy, x.Messages
	if x.AtBroker {
		t.Half = &BrokerHalf{Ended: true}
	}
	return line{decided: &t}, nil
}

// check refuses what no export has.
func (x *exportedDecided) check(version int) error {
	state, err := ParseTransactionState(x.State)
	switch {
	case version < exportVersionDecided:
		return fmt.Errorf("format %d has none", version)
	case err != nil || !state.Decided():
		return fmt.Errorf("it is %.40q; it is committed or rolled_back", x.State)
	case len(x.Messages) == 0:
		return errors.New("it has no messages")
	case !datable(x.EndedAt) || len(x.DecidedBy) > maxDetail:
		return errors.New("the time at which it was decided, or who did, is none that can be")
	}
	return x.exportedHead.check()
}
