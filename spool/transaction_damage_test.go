package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// An entry that is damaged, or missing, costs its message or nothing. What is not
// known any more of a transaction is not guessed: an operator decides it.
func TestDamagedTransactions(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(*rig)
		lost  uint64
		state spool.TransactionState
	}{
		"a message":              {func(r *rig) { r.damaged("sy", flipLast) }, 1, spool.TransactionHalf},
		"the transaction":        {func(r *rig) { r.damaged("sp", flipLast) }, 0, spool.TransactionUndecided},
		"the transaction's loss": {func(r *rig) { r.removed("sp") }, 0, spool.TransactionUndecided},
		"its name":               {func(r *rig) { r.damaged("sj", flipLast) }, 0, spool.TransactionHalf},
		"its names' loss":        {func(r *rig) { r.removed("sj") }, 0, spool.TransactionHalf},
		"the index":              {func(r *rig) { r.removed("sq") }, 0, spool.TransactionHalf},
		"their topic":            {func(r *rig) { r.damaged("st", flipLast) }, 0, spool.TransactionHalf},
		"the head":               {func(r *rig) { r.damaged("sh", flipLast) }, 0, spool.TransactionHalf},
		"strange entries": {func(r *rig) {
			r.behind(func(tx *kv.Tx) {
				tx.Set([]byte("sqc\x00\x00\x00too short"), []byte("?"))
				tx.Set([]byte("sqc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"), []byte("?"))
				tx.Set([]byte("sj0123456789abcdef"), []byte("?"))
			})
		}, 0, spool.TransactionHalf},
	} {
		t.Run(name, func(t *testing.T) {
			r, clock := timed(t, spool.Options{})
			d := prepared("tx", draft("t", "1"), draft("t", "2"))
			d.Key = "key"
			tx, _ := r.prepare(d)
			r.accept(draft("t", "0"))
			c.do(r)
			r.doubted()
			r.kill()
			if n := r.Ledger().Total; n.Lost != c.lost || n.InSpool.Half != 2-c.lost {
				t.Fatalf("the ledger is %+v, the damage %+v", n, r.Damage())
			}
			got, err := r.Transaction(t.Context(), "tx")
			if err != nil || got.State != c.state || len(got.Messages) != 2 {
				t.Fatalf("it is %+v, %v", got, err)
			}
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.reopen()
			r.balanced()
			if clock.advance(time.Minute); c.state == spool.TransactionHalf {
				if got := r.dueChecks(10); !slices.Equal(got, []string{"tx"}) {
					t.Errorf("due are %q", got)
				}
			}
			r.noChecks()
			r.decided("tx", spool.TransactionCommitted)
			r.kill()
			if got := len(r.leaseSome("t", int(3-c.lost))); got != int(3-c.lost) {
				t.Errorf("%d messages are pending", got)
			}
			if c.lost == 0 {
				if got, err := r.Receipt(t.Context(), tx.Messages[0]); err != nil || got.State != message.StateInFlight {
					t.Errorf("%+v, %v", got, err)
				}
			}
			r.balanced()
		})
	}
}

// A name that leads to no transaction any more is free: what is prepared under it is
// stored, and found by it.
func TestNamesOfALostTransactionAreFree(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	d := prepared("tx", draft("a", "1"))
	d.Key = "key"
	lost, _ := r.prepare(d)
	r.removed("sp")
	got, _ := r.prepare(d)
	if got.Duplicate || got.Messages[0] == lost.Messages[0] {
		t.Errorf("prepared %+v, which was lost", got)
	}
	if again, _ := r.prepare(d); !again.Duplicate || again.Messages[0] != got.Messages[0] {
		t.Errorf("prepared again %+v, want %+v", again, got)
	}
	r.decided("tx", spool.TransactionCommitted)
	if got := bodies(r.lease("a", 0)); !slices.Equal(got, []string{"1"}) {
		t.Errorf("leased %q", got)
	}
}

// What is wrong with transactions is found by an independent count.
func TestAuditOfTransactions(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rig)
		says string
	}{
		"a message is gone":          {func(r *rig) { r.removed("sy") }, "1 half, 0 were read"},
		"the transaction is gone":    {func(r *rig) { r.removed("sp") }, "is not open"},
		"the transaction is damaged": {func(r *rig) { r.damaged("sp", flipLast) }, "damaged"},
		"its name is gone":           {func(r *rig) { r.removed("sj") }, "by its name"},
		"its name is damaged":        {func(r *rig) { r.damaged("sj", flipLast) }, "name"},
		"its place is gone":          {func(r *rig) { r.removed("sq") }, "place in the index"},
		"a place of none": {func(r *rig) {
			r.behind(func(tx *kv.Tx) {
				tx.Set([]byte("squ\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"), []byte("?"))
			})
		}, "leads to no transaction"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			r.accept(draft("t", "1"))
			r.prepare(prepared("tx", draft("t", "2")))
			r.balanced()
			c.do(r)
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || !strings.Contains(strings.Join(a.Damage, "\n"), c.says) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// Open transactions come over in an export, whole, and are undecided where they are
// then: nobody there can be asked.
func TestTransactionsAreExported(t *testing.T) {
	from, c := timed(t, spool.Options{})
	d := prepared("tx", under("", bulky(draft("a", "1"))), after(draft("b", "2"), time.Hour), until(draft("a", "3"), c.now().Add(3*time.Hour)))
	d.Key = "key"
	d.Messages[0].TTL = 5 * time.Hour
	tx, _ := from.prepare(d)
	from.prepare(prepared("done", draft("a", "4")))
	from.decided("done", spool.TransactionCommitted)
	for name, q := range map[string]spool.Query{"all": {}, "half ones": {States: []message.State{message.StateHalf}}} {
		t.Run(name, func(t *testing.T) {
			opts := spool.Options{}
			c.rule(&opts)
			to := newRig(t, opts)
			others := map[string]int{"all": 1, "half ones": 0}[name]
			export := from.export(q)
			if done := to.take(export); done.Messages != 3+others || done.Transactions != 1 {
				t.Fatalf("imported %+v", done)
			}
			if done := to.take(export); done.Known != 3+others || done.Messages+done.Transactions != 0 {
				t.Fatalf("imported again %+v", done)
			}
			to.kill()
			to.balanced()
			got, err := to.Transaction(t.Context(), "tx")
			if err != nil || got.State != spool.TransactionUndecided || !slices.Equal(got.Messages, tx.Messages) || got.Key != "key" || got.Check != d.Check || !got.PreparedAt.Equal(tx.PreparedAt) {
				t.Fatalf("imported %+v, %v", got, err)
			}
			to.are(tx.Messages, message.StateUndecided)
			if same, _, err := to.Prepare(t.Context(), d); err != nil || !same.Duplicate {
				t.Errorf("prepared again: %+v, %v", same, err)
			}
			to.decided("tx", spool.TransactionCommitted)
			to.kill()
			to.are(tx.Messages[1:], message.StateDelayed)
			found, err := to.Find(t.Context(), tx.Messages[0])
			if err != nil || !strings.HasPrefix(string(found.Message.Body), "1 large") || !found.Message.ExpiresAt.Equal(c.now().Add(5*time.Hour)) {
				t.Errorf("found %.40q, %v, %v", found.Message.Body, found.Message.ExpiresAt, err)
			}
			to.balanced()
		})
	}
	var b bytes.Buffer
	if _, err := from.Export(t.Context(), &b, spool.Query{States: []message.State{message.StateHalf}, Topic: "a"}); !errors.Is(err, spool.ErrExport) {
		t.Errorf("a part of the half messages: %v", err)
	}
}

// A transaction that is larger than a commit is where it is taken in is a line that cannot
// be used there: it is named, and with partial all others are taken in.
func TestTransactionThatIsTooLargeIsPassedOver(t *testing.T) {
	from, _ := timed(t, spool.Options{})
	from.accept(draft("t", "1"))
	from.prepare(prepared("a", draft("t", "2")))
	d := prepared("b", repeat(200, draft("t", "3"))...)
	d.Key = "key" // which is another's where it is taken in
	large, _ := from.prepare(d)
	from.prepare(prepared("c", draft("t", "4")))
	export := from.export(spool.Query{})
	before, _, _ := bytes.Cut(export, []byte(`"id":"b"`))
	line := 1 + bytes.Count(before, []byte("\n"))
	to := newRigOn(t, spool.Options{}, kv.Options{MemTableSize: 1 << 20, MaxCommit: 24 << 10})
	d = prepared("own", draft("t", "5"))
	d.Key = "key"
	to.prepare(d)
	says := fmt.Sprintf("line %d: transaction b: too large to be stored", line)
	if done, err := to.Import(t.Context(), bytes.NewReader(export), false); !errors.Is(err, spool.ErrExport) || !errors.Is(err, spool.ErrTooLarge) || !strings.Contains(err.Error(), says) {
		t.Errorf("imported %+v, %v; want %q", done, err, says)
	}
	done, err := to.Import(t.Context(), bytes.NewReader(export), true)
	if err != nil || done.Messages+done.Known != 3 || done.Refused != 1 || done.Conflicts != 0 || len(done.Unfit) != 1 || !strings.HasPrefix(done.Unfit[0], says) {
		t.Errorf("partial: %+v, %v; want %q", done, err, says)
	}
	to.decided("a", spool.TransactionCommitted)
	to.decided("c", spool.TransactionRolledBack)
	if _, err := to.Receipt(t.Context(), large.Messages[0]); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("a message of the large one: %v", err)
	}
	to.balanced()
}

// A line that no export has is refused, and says why.
func TestTransactionLinesAreChecked(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	r.prepare(prepared("tx", draft("a", "1")))
	export := r.export(spool.Query{})
	for _, change := range [][2]string{
		{`"state":"half"`, `"state":"pending"`}, {`"check_after":"1m0s"`, `"check_after":"-1m"`}, {`"id":"tx"`, `"id":""`},
		{`"on_exhausted":"undecided"`, `"on_exhausted":"guess"`}, {`"fingerprint":"01`, `"fingerprint":"x1`},
	} {
		changed := []byte(strings.Replace(string(export), change[0], change[1], 1))
		if bytes.Equal(changed, export) {
			t.Fatalf("there is no %s in %s", change[0], export)
		}
		c, err := spool.CheckExport(bytes.NewReader(recounted(changed)))
		if err != nil || c.Transactions != 0 || c.AllBad == 0 {
			t.Errorf("%s: %+v, %v", change[1], c, err)
		}
	}
}

// recounted gives each line a checksum that fits.
func recounted(export []byte) []byte {
	var out []string
	for line := range strings.Lines(string(export)) {
		for _, kind := range []string{`,"transaction":`, `,"decided":`} {
			if at := strings.Index(line, kind); at >= 0 {
				raw := strings.TrimSuffix(line[at+len(kind):], "}\n")
				line = fmt.Sprintf(`{"crc32c":"%08x"%s%s}`, checksum([]byte(raw)), kind, raw) + "\n"
			}
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, ""))
}

func checksum(raw []byte) uint32 { return crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)) }
