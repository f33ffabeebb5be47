package main

import (
	"testing"

	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

// A transaction of mode broker that was decided waits for the broker: its message is half
// until that has confirmed it.
func TestDrainWaitsForTheEndsOfTransactions(t *testing.T) {
	s := sidecar.SpoolStatus{Messages: spool.InSpool{Half: 2}, Transactions: sidecar.Transactions{Half: 1, Ending: 1}}
	if left := leftIn(&s, false); left.Drained || left.Ending != 1 || left.Half != 2 {
		t.Errorf("%+v", left)
	}
	s.Messages.Half, s.Transactions.Ending = 1, 0
	if left := leftIn(&s, false); !left.Drained {
		t.Errorf("%+v", left)
	}
	if left := leftIn(&s, true); left.Drained {
		t.Errorf("%+v", left)
	}
}
