package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

// TestLedgerNamesWhatIsLost: the table is where an operator is sent to for what a damage
// has cost.
func TestLedgerNamesWhatIsLost(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	many := spool.Damage{At: at, Lost: 40, Among: true}
	for n := range uint64(12) {
		many.Sequences = append(many.Sequences, spool.Lost{First: 100 * n, Last: 100*n + 5})
	}
	one := spool.Damage{At: at, Lost: 1, Sequences: []spool.Lost{{First: 7, Last: 7, Topic: "orders\x1b"}}}
	known := one
	known.Acknowledged = &at
	for name, c := range map[string]struct {
		l    sidecar.Ledger
		says []string
		why  string
	}{
		"one": {
			sidecar.Ledger{Audit: sidecar.Audit{Damage: []string{"report"}}, Damage: spool.DamageState{Reports: []spool.Damage{one}}},
			[]string{"lost: 1 message was lost, found at 2026-01-02T03:04:05Z, not acknowledged\nlost: sequence 7 of topic orders?\n"},
			"1 message was lost, and nobody has acknowledged that",
		},
		"acknowledged": {
			sidecar.Ledger{Balanced: true, Damage: spool.DamageState{Reports: []spool.Damage{known}}},
			[]string{": balanced\nlost: 1 message was lost, found at 2026-01-02T03:04:05Z, acknowledged\nlost: sequence 7 of topic orders?\n"},
			"",
		},
		"many": {
			sidecar.Ledger{
				Audit:  sidecar.Audit{Missing: make([]uint64, 12), Damage: []string{"report", "report", "a place"}},
				Damage: spool.DamageState{Reports: []spool.Damage{many, one}},
			},
			[]string{"lost: some of sequences 900 to 905 of a topic that is not known any more\n", "and 3 more, see -o json\n", "missing: sequence 0\nand 2 more, see -o json\n"},
			"41 messages were lost, and nobody has acknowledged that; 12 sequences are missing; 1 place is damaged",
		},
		"missing": {
			sidecar.Ledger{Audit: sidecar.Audit{Missing: []uint64{3}, Damage: []string{"a", "b"}}}, []string{"missing: sequence 3\n"},
			"1 sequence is missing; 2 places are damaged",
		},
	} {
		var w bytes.Buffer
		ledgerTable(&w, &c.l)
		for _, text := range c.says {
			if !strings.Contains(w.String(), text) {
				t.Errorf("%s: there is no %q in\n%s", name, text, w.String())
			}
		}
		if n := strings.Count(w.String(), "sequences "); name == "many" && n != some+1 { // one is of the line of all
			t.Errorf("%s: %d lines of sequences in\n%s", name, n, w.String())
		}
		if why := whyUnbalanced(&c.l); why != c.why {
			t.Errorf("%s: %q, want %q", name, why, c.why)
		}
	}
}
