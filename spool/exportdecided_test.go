package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// decidedOnes fills a spool with transactions that are decided: pay-1 is committed and not
// sent, pay-2 committed and confirmed, pay-3 rolled back, and pay-4 of mode broker.
func decidedOnes(r *rig) (drafts map[string]spool.TransactionDraft, all map[string]spool.Transaction) {
	drafts, all = map[string]spool.TransactionDraft{}, map[string]spool.Transaction{}
	for n := range 3 {
		id := fmt.Sprint("pay-", n+1)
		d := prepared(id, draft("t"+id, id), draft("t"+id, "more"))
		d.Key = id
		r.prepare(d)
		drafts[id] = d
		all[id] = r.decided(id, []spool.TransactionState{spool.TransactionCommitted, spool.TransactionCommitted, spool.TransactionRolledBack}[n])
	}
	r.confirm(r.leaseSome("tpay-2", 2))
	r.prepareAtBroker("pay-4", draft("b", "4"))
	r.decided("pay-4", spool.TransactionCommitted)
	r.dueEnd(true)
	all["pay-4"] = r.ended("pay-4", spool.Told{Place: placed(1), Commit: true})
	r.Flush()
	return drafts, all
}

// What is decided stays known over a move: a client whose answer was lost repeats its
// call, is told what was decided, and makes no second message.
func TestDecidedTransactionsAreExported(t *testing.T) {
	from, c := timed(t, spool.Options{})
	drafts, all := decidedOnes(from)
	export := from.export(spool.Query{})
	opts := spool.Options{}
	c.rule(&opts)
	to := newRig(t, opts)
	if done := to.take(export); done.Messages != 2 || done.Transactions != 0 || done.Decided != 4 || done.Conflicts != 0 {
		t.Fatalf("imported %+v", done)
	}
	if done := to.take(export); done.Known != 2 || done.Messages+done.Decided+done.Refused != 0 {
		t.Errorf("imported again %+v", done)
	}
	for _, again := range []func(*rig){func(*rig) {}, (*rig).kill, func(r *rig) { r.doubted(); r.reopen() }} {
		again(to)
		to.answersAsBefore(drafts, all)
	}
	if n := to.TransactionCounts(); n != (spool.TransactionCounts{Decided: 4}) {
		t.Errorf("counted %+v", n)
	}
	if l := to.leaseSome("tpay-1", 2); len(l) != 2 || l[0].ID != all["pay-1"].Messages[0] {
		t.Errorf("leased %q", bodies(l))
	}
	to.balanced()
	free := prepared("another", draft("t", "5"))
	free.Key = "pay-3" // which went free with the rollback
	to.prepare(free)
	onward := newRig(t, spool.Options{})
	if done := onward.take(to.export(spool.Query{})); done.Decided != 4 || done.Transactions != 1 {
		t.Errorf("moved on %+v", done)
	}
}

// An encrypted spool that had none finds what it has taken in by keyed names, and an older
// version, which would not, refuses it from then on.
func TestDecidedTransactionsAreImportedUnderKeyedNames(t *testing.T) {
	from, c := timed(t, spool.Options{})
	drafts, all := decidedOnes(from)
	opts := spool.Options{Keys: ring(1)}
	c.rule(&opts)
	to := newRig(t, opts)
	if done := to.take(from.export(spool.Query{})); done.Decided != 4 || done.Conflicts != 0 {
		t.Fatalf("imported %+v", done)
	}
	names := to.find("sj")
	if len(names) != 6 { // four IDs, and the keys of two that are not rolled back
		t.Errorf("%d names", len(names))
	}
	for _, again := range []func(*rig){
		func(*rig) {}, (*rig).kill, (*rig).reopen, func(r *rig) { r.doubted(); r.reopen() },
		func(r *rig) { r.close(); r.opts.Keys = ring(2, 1); r.open() },
		func(r *rig) { r.whileClosed(func() { r.removed("ss") }) },
	} {
		again(to)
		if _, err := to.AcknowledgeDamage(t.Context()); err != nil {
			t.Fatal(err)
		}
		to.answersAsBefore(drafts, all)
		if head := to.find("sh")[0].value; head[0] != 7 {
			t.Errorf("the format is %d", head[0])
		}
		for id := range all {
			if len(to.find("sj"+string(spool.PlainHash('i', id)))) > 0 {
				t.Errorf("%s has a plain name", id)
			}
		}
		to.balanced()
	}
}

// Without room to spare an import says so, and goes on when there is some.
func TestImportOfDecidedTransactionsNeedsRoomToSpare(t *testing.T) {
	from, c := timed(t, spool.Options{})
	drafts, all := decidedOnes(from)
	export, v := from.export(spool.Query{}), &volume{}
	opts := spool.Options{Space: v}
	c.rule(&opts)
	to := newRig(t, opts)
	v.spent.Store(true)
	if done, err := to.Import(t.Context(), bytes.NewReader(export), false); !errors.Is(err, spool.ErrDiskLow) || done.Decided+done.Messages+done.Keys != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	v.spent.Store(false)
	if done := to.take(export); done.Decided != 4 || done.Messages != 2 {
		t.Errorf("%+v", done)
	}
	to.answersAsBefore(drafts, all)
}

// answersAsBefore fails the test unless calls for decided transactions are answered as
// where they were decided.
func (r *rig) answersAsBefore(drafts map[string]spool.TransactionDraft, all map[string]spool.Transaction) {
	r.t.Helper()
	for id, want := range all {
		got, err := r.Transaction(context.Background(), id)
		if err != nil || got.State != want.State || got.Key != want.Key || got.DecidedBy != want.DecidedBy || got.Check != want.Check ||
			!got.PreparedAt.Equal(want.PreparedAt) || !got.EndedAt.Equal(want.EndedAt) || !slices.Equal(got.Messages, want.Messages) || (got.Half == nil) != (want.Half == nil) {
			r.t.Fatalf("%s is %+v, %v; want %+v", id, got, err, want)
		}
		r.decided(id, want.State)
		opposite := spool.TransactionCommitted + spool.TransactionRolledBack - want.State
		if _, err := r.decide(id, opposite); !errors.Is(err, spool.ErrDecided) {
			r.t.Errorf("%s: the opposite: %v", id, err)
		}
	}
	for id, d := range drafts {
		got, _, err := r.Prepare(context.Background(), d)
		if all[id].State == spool.TransactionRolledBack {
			if !errors.Is(err, spool.ErrDecided) {
				r.t.Errorf("%s prepared again: %+v, %v", id, got, err)
			}
			continue
		}
		if err != nil || !got.Duplicate || got.State != spool.TransactionCommitted || !slices.Equal(got.Messages, all[id].Messages) {
			r.t.Errorf("%s prepared again: %+v, %v", id, got, err)
		}
		d.ID = ""
		if _, _, err := r.Prepare(context.Background(), d); err != nil {
			r.t.Errorf("%s prepared again by its key alone: %v", id, err)
		}
	}
}

// A transaction that was decided long ago is kept while a message of it is held, also
// between its line and that of the message.
func TestDecidedTransactionIsKnownUntilItsMessageHasCome(t *testing.T) {
	opts := spool.Options{ReceiptsKeep: time.Hour, DedupeWindow: time.Hour}
	from, c := timed(t, opts)
	from.prepare(prepared("tx", draft("t", "1")))
	from.decided("tx", spool.TransactionCommitted)
	c.advance(30 * time.Hour)
	from.expire()
	lines := strings.SplitAfter(string(from.export(spool.Query{})), "\n")
	c.rule(&opts)
	to := newRig(t, opts)
	cut := strings.Join(lines[:2], "") // the header, and the transaction
	if done, err := to.Import(t.Context(), strings.NewReader(cut), false); !errors.Is(err, spool.ErrExport) || done.Decided != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	to.expire()
	to.knows("tx", true)
	if done := to.take([]byte(strings.Join(lines, ""))); done.Messages != 1 || done.Decided != 0 {
		t.Errorf("the rest: %+v", done)
	}
	c.advance(30 * time.Hour)
	to.expire()
	to.knows("tx", true)
	to.confirm(to.leaseSome("t", 1))
	to.Flush()
	c.advance(3 * time.Hour)
	to.expire()
	to.knows("tx", false)
	to.balanced()
}

// What is decided while the export is written is there as open, or as decided with its
// messages: never as neither.
func TestExportHasWhatIsDecidedMeanwhile(t *testing.T) {
	from, _ := timed(t, spool.Options{})
	for n := range 4 { // more than is written at once
		from.prepare(prepared(fmt.Sprint("open-", n), bulky(draft("t", "1"))))
	}
	d := prepared("tx", draft("t", "2"), draft("t", "3"))
	from.prepare(d)
	var b bytes.Buffer
	w := &meanwhile{do: func() { from.decided("tx", spool.TransactionCommitted) }}
	done, err := from.Export(t.Context(), io.MultiWriter(w, &b), spool.Query{})
	if err != nil || done.Transactions != 4 || done.Decided != 1 || done.Messages != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	to := newRig(t, spool.Options{})
	to.take(b.Bytes())
	if got, _, err := to.Prepare(t.Context(), d); err != nil || got.State != spool.TransactionCommitted {
		t.Errorf("%+v, %v", got, err)
	}
}

// A key that is another transaction's where the decided one is taken in stays that one's.
func TestDecidedTransactionsAndNamesOfOthers(t *testing.T) {
	from, _ := timed(t, spool.Options{})
	d := prepared("tx", draft("t", "1"))
	d.Key = "key"
	from.prepare(d)
	from.decided("tx", spool.TransactionCommitted)
	from.prepare(prepared("other", draft("t", "2")))
	from.decided("other", spool.TransactionRolledBack)
	export := from.export(spool.Query{})
	to, _ := timed(t, spool.Options{})
	d.ID = "own"
	to.prepare(d)
	to.prepare(prepared("other", draft("t", "3"))) // another under the same ID
	if done := to.take(export); done.Decided != 1 || done.Conflicts != 1 || done.Messages != 1 {
		t.Fatalf("%+v", done)
	}
	if got, err := to.Transaction(t.Context(), "tx"); err != nil || got.Key != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _, err := to.Prepare(t.Context(), d); err != nil || got.ID != "own" {
		t.Errorf("%+v, %v", got, err)
	}
	to.decided("other", spool.TransactionCommitted)
	to.balanced()
	twice := newRig(t, spool.Options{}) // a line that is there twice is taken in once
	if done, err := twice.Import(t.Context(), bytes.NewReader(lineTwice(export, `"decided":{"id":"tx"`)), true); err != nil || done.Decided != 2 {
		t.Errorf("%+v, %v", done, err)
	}
}

func lineTwice(export []byte, with string) []byte {
	var out []string
	for line := range strings.Lines(string(export)) {
		if out = append(out, line); strings.Contains(line, with) {
			out = append(out, line)
		}
	}
	return []byte(strings.Join(out, ""))
}

// A line that no export has is refused, and older formats have none.
func TestDecidedLinesAreChecked(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	r.prepare(prepared("tx", draft("a", "1")))
	tx := r.decided("tx", spool.TransactionCommitted)
	export := r.export(spool.Query{})
	for _, change := range [][2]string{
		{`"state":"committed"`, `"state":"half"`}, {`"id":"tx"`, `"id":""`}, {fmt.Sprintf(`["%s"]`, tx.Messages[0]), `[]`},
		{`"ended_at":"`, `"ended_at":"9`}, {`"on_exhausted":"undecided"`, `"on_exhausted":"guess"`}, {`"remora_export":5`, `"remora_export":4`},
		{`"decided_by":"`, `"decided_by":"` + strings.Repeat("x", 1000)},
	} {
		changed := []byte(strings.Replace(string(export), change[0], change[1], 1))
		if bytes.Equal(changed, export) {
			t.Fatalf("there is no %s in %s", change[0], export)
		}
		c, err := spool.CheckExport(bytes.NewReader(recounted(changed)))
		if err != nil || c.Decided != 0 || c.AllBad == 0 {
			t.Errorf("%s: %+v, %v", change[1], c, err)
		}
	}
	if part := r.export(spool.Query{States: []message.State{message.StatePending}}); !bytes.HasPrefix(part, []byte(`{"remora_export":3,`)) || bytes.Contains(part, []byte(`"decided"`)) {
		t.Errorf("a part has %s", part)
	}
}
