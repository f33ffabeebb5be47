package spool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// further leaves what workload does not: transactions in each of their states, one of
// which a broker has a half message of, delayed messages, one with a TTL, and a topic
// that is paused.
func (r *rig) further(first int) {
	r.t.Helper()
	d := secret(first, "")
	d.DedupeKey = ""
	for i, to := range []spool.TransactionState{spool.TransactionHalf, spool.TransactionCommitted, spool.TransactionRolledBack} {
		tx := prepared(fmt.Sprint("canary-id-", first+i), d, after(d, time.Hour))
		tx.Key = fmt.Sprint("canary-txkey-", first+i)
		r.prepare(tx)
		if to != spool.TransactionHalf {
			r.decided(tx.ID, to)
		}
	}
	r.prepareAtBroker(fmt.Sprint("canary-at-broker-", first), draft("canary-topic", "canary-body"))
	d = secret(first+1, "")
	d.Topic = "canary-other"
	d.TTL = time.Hour
	r.accept(d)
	r.accept(after(secret(first+2, ""), time.Hour))
	r.pauseTopic("canary-other")
	r.reopen()
}

// guessable are the hashes of what further leaves that whoever guesses a text can compute.
// A table may have cut off how a key begins.
func guessable(first int) (all []string) {
	for i := range 3 {
		all = append(all, string(spool.PlainHash('i', fmt.Sprint("canary-id-", first+i))[2:]), string(spool.PlainHash('k', fmt.Sprint("canary-txkey-", first+i))[2:]))
	}
	return append(all, string(spool.KeyHash("canary-topic", fmt.Sprint("canary-dedupe-", first+2))))
}

func TestNoGuessableHashIsInAFile(t *testing.T) {
	plain := newRig(t, spool.Options{})
	plain.further(0)
	for i, h := range guessable(0) {
		if plain.inFiles(h) == nil {
			t.Errorf("hash %d is not found without a key either", i)
		}
	}
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.workload(10)
	r.further(0)
	for range 2 {
		for i, word := range append(guessable(0), "canary-") {
			if found := r.inFiles(word); found != nil {
				t.Errorf("hash %d (%x) is found in %v", i, word, found)
			}
		}
		r.balanced()
		r.close() // the tables are written now
		r.open()
	}
}

// named is a rig with transactions: 1 half, 2 committed, 3 rolled back, whose key 4 has.
func named(t *testing.T, keys *keyring.Ring) *rig {
	t.Helper()
	r, _ := timed(t, spool.Options{Keys: keys})
	for i := range 4 {
		r.prepare(namedDraft(i + 1))
		switch i {
		case 1:
			r.decided("2", spool.TransactionCommitted)
		case 2:
			r.decided("3", spool.TransactionRolledBack)
		}
	}
	return r
}

func namedDraft(n int) spool.TransactionDraft {
	d := prepared(fmt.Sprint(n), draft("t", fmt.Sprint(n)))
	d.Key = fmt.Sprint("key", min(n, 3))
	if n >= 3 {
		d.Key = "key3"
	}
	d.Fingerprint = [16]byte{byte(n)}
	return d
}

// findsAll fails the test unless all transactions are found by ID and by key, and what
// repeats them makes no second one.
func (r *rig) findsAll() {
	r.t.Helper()
	for n := range 4 {
		d := namedDraft(n + 1)
		if got, err := r.Transaction(r.t.(*testing.T).Context(), d.ID); err != nil || got.Key != d.Key {
			r.t.Errorf("transaction %s: %+v, %v", d.ID, got, err)
		}
		if n == 2 {
			continue
		}
		for _, id := range []string{d.ID, ""} {
			d.ID = id
			r.repeated(d, n+1)
		}
	}
	r.balanced()
}

// repeated fails the test unless d is that of transaction n, which is there.
func (r *rig) repeated(d spool.TransactionDraft, n int) {
	r.t.Helper()
	got, _, err := r.Prepare(r.t.(*testing.T).Context(), d)
	if err != nil || !got.Duplicate || got.ID != fmt.Sprint(n) {
		r.t.Errorf("prepared %d again: %+v, %v", n, got, err)
	}
}

// names are the keys by which transactions are found; those that can be computed without
// a secret are counted.
func (r *rig) names() (all []string, plain int) {
	for _, e := range r.find("sj") {
		name := string(e.key[2:])
		all = append(all, name)
		for n := range 4 {
			for _, p := range [][]byte{spool.PlainHash('i', fmt.Sprint(n+1)), spool.PlainHash('k', fmt.Sprint("key", n+1))} {
				if name == string(p) {
					plain++
				}
			}
		}
	}
	return all, plain
}

// What was found by plain hashes is found by keyed ones after an opening, and an older
// version refuses the spool then.
func TestPlainNamesAreReplaced(t *testing.T) {
	plain := func(n int, format byte, secret bool) func(r *rig) {
		return func(r *rig) {
			if err := r.PlainNames(n, format, secret); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		keys *keyring.Ring
		do   func(*rig)
	}{
		"a spool that was plain":                  {nil, func(r *rig) { r.opts.Keys = ring(1) }},
		"a spool of an older version":             {ring(1), plain(1, 6, false)},
		"an older version had it meanwhile":       {ring(1), plain(1, 6, true)},
		"the opening that did so was interrupted": {ring(1), plain(2, 7, true)},
	} {
		t.Run(name, func(t *testing.T) {
			r := named(t, c.keys)
			c.do(r)
			if _, n := r.names(); n < 3 {
				t.Fatalf("%d plain names are there", n)
			}
			r.close()
			r.open()
			if all, n := r.names(); n > 0 || len(all) != 7 {
				t.Errorf("%d of %d names are plain", n, len(all))
			}
			if head := r.find("sh")[0].value; head[0] != 7 {
				t.Errorf("the format is %d", head[0])
			}
			if d := r.Damage(); len(d.Reports) > 0 {
				t.Errorf("it is told as damage: %+v", d)
			}
			r.findsAll()
			r.kill()
			r.findsAll()
		})
	}
}

// Without a key ring nothing changes.
func TestNamesStayPlainWithoutAKey(t *testing.T) {
	r := named(t, nil)
	r.reopen()
	if all, n := r.names(); n != len(all) || n != 7 {
		t.Errorf("%d of %d names are plain", n, len(all))
	}
	if head := r.find("sh")[0].value; head[0] != 4 || len(r.find("ss")) > 0 {
		t.Errorf("the format is %d", head[0])
	}
	r.findsAll()
}

// An encrypted spool without transactions can be read by an older version.
func TestTheFormatIsRaisedByTheFirstKeyedName(t *testing.T) {
	r, _ := timed(t, spool.Options{Keys: ring(1)})
	format := func(want byte) {
		t.Helper()
		if head := r.find("sh")[0].value; head[0] != want {
			t.Errorf("the format is %d, want %d", head[0], want)
		}
	}
	r.reopen()
	r.accept(draft("t", "1"))
	format(1)
	r.prepare(namedDraft(1))
	format(7)
	r.kill()
	format(7)
}

// Another key of the ring changes no name, and the secret is not left under the old one.
func TestARotationChangesNoName(t *testing.T) {
	r := named(t, ring(1))
	before, _ := r.names()
	for _, keys := range []*keyring.Ring{ring(2, 1), ring(2, 1), ring(2)} {
		if r.close(); slices.Equal(keys.IDs(), ring(2).IDs()) {
			break
		}
		r.opts.Keys = keys
		r.open()
		r.findsAll()
	}
	r.open()
	if after, _ := r.names(); !slices.Equal(before, after) {
		t.Errorf("names %x, were %x", after, before)
	}
	if id, ok := keyring.IDOf(r.find("ss")[0].value); !ok || id != ring(2).Current() {
		t.Errorf("the secret lies under key %v", id)
	}
}

// A secret that is damaged, or gone, is told, and the names are made anew.
func TestALostSecretLosesNoTransaction(t *testing.T) {
	for name, do := range map[string]func(*rig){
		"damaged":               func(r *rig) { r.damaged("ss", flipLast) },
		"gone":                  func(r *rig) { r.removed("ss") },
		"damaged with the head": func(r *rig) { r.damaged("ss", flipLast); r.damaged("sh", flipLast) },
		"gone with all names":   func(r *rig) { r.removed("ss", "sj") },
		"another's": func(r *rig) {
			other, _ := timed(t, spool.Options{Keys: ring(1)})
			e := other.find("ss")[0]
			r.plant(e)
			r.doubted()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := named(t, ring(1))
			before, _ := r.names()
			r.whileClosed(func() { do(r) })
			if d := r.Damage(); len(d.Reports) != 1 && name != "another's" || name != "another's" && !strings.Contains(strings.Join(d.Reports[0].Found, "\n"), "secret") {
				t.Fatalf("%+v", d)
			} else if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			if after, n := r.names(); n > 0 || len(after) != 7 || slices.Equal(before, after) {
				t.Errorf("%d names of %d are plain; %x were %x", n, len(after), after, before)
			}
			if found := r.inFiles(string(spool.PlainHash('i', "1")[2:])); found != nil {
				t.Errorf("the plain hash of an ID is in %v", found)
			}
			r.findsAll()
			if r.kill(); len(r.Damage().Reports) != 1 && name != "another's" {
				t.Errorf("it is told again: %+v", r.Damage())
			}
			r.findsAll()
		})
	}
}

func TestAuditReadsTheSecret(t *testing.T) {
	for name, do := range map[string]func(*rig){
		"damaged":   func(r *rig) { r.damaged("ss", flipLast) },
		"gone":      func(r *rig) { r.removed("ss") },
		"another's": func(r *rig) { other := named(t, ring(1)); r.plant(other.find("ss")[0]) },
	} {
		r := named(t, ring(1))
		do(r)
		if a, err := r.Audit(t.Context()); err != nil || a.Balanced || !strings.Contains(strings.Join(a.Damage, "\n"), "secret") {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// What an encrypted spool takes in, hands on and has at a broker is found by its names.
func TestKeyedNamesElsewhere(t *testing.T) {
	from := named(t, nil)
	to, _ := timed(t, spool.Options{Keys: ring(1)})
	export := from.export(spool.Query{})
	for range 2 {
		to.take(export)
	}
	for _, n := range []int{1, 4} {
		to.repeated(namedDraft(n), n)
	}
	third, _ := timed(t, spool.Options{Keys: ring(2)})
	third.take(to.export(spool.Query{}))
	third.repeated(namedDraft(1), 1)
	r, _ := timed(t, spool.Options{Keys: ring(1)})
	r.prepareAtBroker("tx", draft("t", "1"))
	r.kill()
	tx := r.decided("tx", spool.TransactionCommitted)
	r.dueEnd(true)
	r.ended("tx", spool.Told{Place: placed(1), Commit: true})
	r.are(tx.Messages, message.StateConfirmed)
	r.balanced()
	to.balanced()
}
