package main

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

// An operator lists, shows and decides transactions, here in a directory.
func TestTransactionsAreDecided(t *testing.T) {
	dir := t.TempDir()
	leaveTransactions(t, dir, "one", "two", "three")
	for _, c := range []struct {
		args, in string
		code     int
		says     []string
	}{
		{"tx list", "", 0, []string{"ID", "one", "two", "three", "undecided", "0 of 15"}},
		{"tx list --state half", "", 0, []string{"no transactions"}},
		{"tx list --state quarter", "", 1, []string{"invalid-option"}},
		{"tx show one -o json", "", 0, []string{`"state": "undecided"`, `"decided_by": "nobody answered"`}},
		{"tx show one", "", 0, []string{"http://127.0.0.1:1/tx, after 1m0s", "mode", "local", "key of one"}},
		{"spool stats", "", 0, []string{"half 3", "of transactions: 0 half, 3 undecided"}},
		{"tx show unknown", "", 1, []string{"unknown-transaction"}},
		{"tx commit", "", 2, nil},
		{"tx commit one", "", 2, []string{"commit 1 transaction: one?"}},
		{"tx commit one --dry-run", "", 0, []string{"would commit 1"}},
		{"tx commit one", "y\n", 0, []string{"one"}},
		{"tx rollback two unknown --yes", "", 4, []string{"two", "unknown-transaction", "1 of 2"}},
		{"tx rollback one --yes", "", 1, []string{"transaction-conflict", "committed"}},
		{"tx list", "", 0, []string{"three"}},
		{"tx list --state committed,rolled_back -o jsonl", "", 0, []string{`"state":"committed"`, `"state":"rolled_back"`, `"decided_by":"operator"`}},
		{"queue list -o jsonl", "", 0, []string{`"state":"pending"`, `"state":"undecided"`}},
	} {
		var out, errOut bytes.Buffer
		code := execute(append(strings.Fields(c.args), "--dir", dir), strings.NewReader(c.in), &out, &errOut)
		said := out.String() + errOut.String()
		if code != c.code {
			t.Errorf("%s: ended with %d, want %d: %s", c.args, code, c.code, said)
		}
		for _, want := range c.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: does not say %q: %s", c.args, want, said)
			}
		}
	}
}

// What was accepted is what a row of the ledger says became of it.
func TestRowsOfTheLedgerAddUp(t *testing.T) {
	dir := t.TempDir()
	leaveTransactions(t, dir, "one", "two", "three")
	for _, args := range []string{"tx commit one --yes", "tx rollback two --yes", "ledger"} {
		var out, errOut bytes.Buffer
		if code := execute(append(strings.Fields(args), "--dir", dir), strings.NewReader(""), &out, &errOut); code != 0 {
			t.Fatalf("%s: %s", args, errOut.String())
		}
		if args != "ledger" {
			continue
		}
		for _, row := range strings.Split(out.String(), "\n")[1:3] {
			cells := strings.Fields(row)
			accepted, all := cells[1], 0
			for _, cell := range cells[2 : len(cells)-1] { // the last are bytes
				n, err := strconv.Atoi(cell)
				if err != nil {
					t.Fatal(err)
				}
				all += n
			}
			if accepted != "3" || all != 3 {
				t.Errorf("%s are accepted, and %d are somewhere:\n%s", accepted, all, out.String())
			}
		}
	}
}

// leaveTransactions makes a spool with undecided transactions.
func leaveTransactions(t *testing.T, dir string, ids ...string) {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: sidecar.DatabaseDir(dir), Magic: spool.FormatVersion, CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(t.Context(), db, spool.Options{Dir: filepath.Dir(sidecar.DatabaseDir(dir))})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		_, _, err := s.Prepare(t.Context(), spool.TransactionDraft{
			ID: id, Key: "key of " + id, Messages: []spool.Draft{{Message: message.Message{Topic: "orders", Body: []byte(id)}}},
			Check: spool.Check{URL: "http://127.0.0.1:1/tx", After: time.Minute, Interval: time.Minute, Most: 15, Exhausted: spool.TransactionUndecided},
		})
		if err == nil {
			_, err = s.Undecide(t.Context(), id, "nobody answered")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
