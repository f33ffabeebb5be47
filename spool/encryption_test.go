package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// ring is a key ring of the keys with these numbers, the first one current.
func ring(numbers ...int) *keyring.Ring {
	var lines []string
	for _, n := range numbers {
		lines = append(lines, strings.Repeat(fmt.Sprintf("%02x", n), 32))
	}
	r, err := keyring.Parse(strings.Join(lines, "\n"))
	if err != nil {
		panic(err)
	}
	return r
}

// secret is a message that has a canary in each of its fields.
func secret(n int, body string) spool.Draft {
	canary := func(what string) string { return fmt.Sprintf("canary-%s-%d", what, n) }
	return spool.Draft{
		Message: message.Message{
			Topic: "canary-topic", Tag: canary("tag"), Keys: []string{canary("key")}, OrderingKey: canary("ordering"),
			ContentType: canary("type"), ContentEncoding: canary("encoding"), TraceParent: canary("parent"), TraceState: canary("state"),
			Properties: []message.Property{{Name: canary("name"), Value: canary("value")}}, Body: []byte(canary("body") + body),
		},
		DedupeKey: canary("dedupe"), Fingerprint: [16]byte{byte(n)},
	}
}

// workload leaves one of everything in the spool: held messages, small and
// large; a confirmed one; a cancelled one; dead letters, small and large.
func (r *rig) workload(first int) {
	r.t.Helper()
	large := strings.Repeat("canary-large ", 20_000)
	r.accept(secret(first, ""), secret(first+1, ""), secret(first+2, large))
	leases := r.leases("canary-topic", 3)
	c := confirmations(leases[:1])
	c[0].Queue = "canary-queue"
	r.Confirm(leases[:1], c)
	r.bury(leases[1])
	r.bury(leases[2])
	id := r.accept(secret(first+3, ""))[0].ID
	if _, err := r.Cancel(r.t.(*testing.T).Context(), id); err != nil {
		r.t.Fatal(err)
	}
	r.accept(secret(first+4, large), secret(first+5, ""))
	r.reopen()
}

// leases takes n messages, whatever keeps them from being leased at once.
func (r *rig) leases(topic string, n int) (all []*spool.Lease) {
	for len(all) < n {
		all = append(all, r.lease(topic, n-len(all))...)
	}
	return all
}

// inFiles returns the files of the rig's directory in which word is found.
func (r *rig) inFiles(word string) (found []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(word)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func TestNothingOfAMessageIsInAFile(t *testing.T) {
	plain := newRig(t, spool.Options{})
	plain.workload(0)
	if len(plain.inFiles("canary-")) == 0 {
		t.Fatal("nothing is found without a key either")
	}
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.workload(0)
	if found := r.inFiles("canary-"); found != nil {
		t.Errorf("found in %v", found)
	}
	r.close() // the tables are written now
	if found := r.inFiles("canary-"); found != nil {
		t.Errorf("after it is closed, found in %v", found)
	}
	r.open()
	r.balanced()
}

// The same operations read the same with and without a key.
func TestEncryptionChangesNothingElse(t *testing.T) {
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.workload(0)
	again, err := r.Append(t.Context(), []spool.Draft{secret(0, "")})
	if err != nil || !again[0].Duplicate || again[0].State != message.StateConfirmed || again[0].Confirmation.Queue != "canary-queue" {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	if _, err := r.Append(t.Context(), []spool.Draft{secret(3, "")}); !errors.Is(err, spool.ErrKeySettled) {
		t.Errorf("the key of a cancelled message: %v", err)
	}
	for _, l := range r.leases("canary-topic", 2) {
		n := int(l.Seq) - 1
		want := secret(n, string(l.Body[len(fmt.Sprint("canary-body-", n)):])).Message
		want.ID, want.Seq, want.TopicSeq, want.AcceptedAt = l.ID, l.Seq, l.TopicSeq, l.AcceptedAt
		if fmt.Sprint(want) != fmt.Sprint(*l.Message) {
			t.Errorf("message %d is another", n)
		}
	}
	r.balanced()
}

func needs(t *testing.T, err error, key *keyring.Ring) {
	t.Helper()
	missing := &keyring.MissingError{}
	if !errors.As(err, &missing) || missing.ID != key.Current() || !strings.Contains(err.Error(), "encryption_key_file") {
		t.Errorf("%v, want one that names key %s and what to set", err, key.Current())
	}
}

func TestWithoutItsKeyASpoolIsRefusedAndUntouched(t *testing.T) {
	r, _ := timed(t, spool.Options{Keys: ring(1)})
	r.workload(0)
	before := r.entries()
	r.close()
	for name, keys := range map[string]*keyring.Ring{"no key": nil, "a wrong key": ring(2)} {
		r.opts.Keys = keys
		err := r.tryOpen()
		if err == nil {
			t.Fatalf("%s: opened", name)
		}
		needs(t, err, ring(1))
	}
	if found, err := os.ReadDir(filepath.Join(r.dir, "quarantine")); err == nil {
		t.Errorf("%d entries in the quarantine", len(found))
	}
	r.opts.Keys, r.kv.Owner = nil, nil
	db, err := kv.Open(t.Context(), r.kv)
	if err != nil {
		t.Fatal(err)
	}
	after := entriesOf(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Error("an opening that was refused has changed entries")
	}
	r.opts.Keys = ring(1)
	r.open()
	r.balanced()
}

// entries are all entries of the spool, as they are on disk.
func (r *rig) entries() map[string]string { return entriesOf(r.t, r.db) }

func entriesOf(t interface{ Fatal(...any) }, db *kv.DB) map[string]string {
	all := map[string]string{}
	err := db.Scan(kv.Scan{Prefix: []byte("s")}, func(k, v []byte) (bool, error) {
		all[string(k)] = string(v)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAKeyIsNeededUntilItsEntriesAreDrained(t *testing.T) {
	now := newClock()
	r := newRig(t, spool.Options{Keys: ring(1), Now: now.now, LedgerKeep: 24 * time.Hour})
	r.workload(0)
	r.close()
	r.opts.Keys = ring(2, 1)
	r.open()
	if n := r.OlderKeys()[ring(1).Current()]; n == 0 {
		t.Fatal("nothing is left of the older key")
	}
	r.close()
	r.opts.Keys = ring(2)
	needs(t, r.tryOpen(), ring(1))

	r.opts.Keys = ring(2, 1)
	r.open()
	r.confirm(r.leases("canary-topic", 2))
	r.reopen()    // they are written
	for range 2 { // the second time the keys are gone that the first one moved
		now.advance(25 * time.Hour)
		if err := r.Expire(); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	r.opts.Keys = ring(2)
	r.open()
	if len(r.OlderKeys()) != 0 {
		t.Errorf("left of other keys: %v", r.OlderKeys())
	}
	a := r.balanced()
	if a.Ledger.Topics["canary-topic"].InSpool.Dead != 2 {
		t.Errorf("%+v", a.Ledger)
	}
	if found := r.inFiles("canary-"); found != nil {
		t.Errorf("found in %v", found)
	}
}

// The largest entry that there may be is written under another key, whatever stands
// before it: 240 KB of delayed messages here, and 4,096 queues with long names.
func TestTheLargestEntryIsWrittenUnderAnotherKey(t *testing.T) {
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.accept(repeat(120, after(draft("later", strings.Repeat("x", 2000)), time.Hour))...)
	r.accept(keyed("t", "0", movingKey))
	long := queues(4096)
	for i, q := range long {
		long[i] = strings.Repeat("a", 110) + q
	}
	r.bind("t", long)
	r.Release(r.lease("t", 1))
	r.close()
	r.opts.Keys = ring(2, 1)
	r.open()
	r.close()
	r.opts.Keys = ring(2)
	needs(t, r.tryOpen(), ring(1)) // for the block of the message
	r.opts.Keys = ring(2, 1)
	r.open()
	r.balanced()
}

func TestPlainEntriesAreReadUntilTheyAreDrained(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.workload(0)
	r.close()
	r.opts.Keys = ring(1)
	r.open()
	if n := r.OlderKeys()[keyring.ID{}]; n == 0 {
		t.Fatal("nothing plain is left")
	}
	r.workload(10)
	r.balanced()
	r.confirm(r.leases("canary-topic", 3))
	r.reopen()
	again, err := r.Append(t.Context(), []spool.Draft{secret(0, "")})
	if err != nil || !again[0].Duplicate {
		t.Errorf("a key from before: %+v, %v", again, err)
	}
	for key, v := range r.entries() {
		if strings.HasPrefix(key, "st") && strings.Contains(v, "canary-") {
			t.Error("the topic's name is not encrypted")
		}
	}
	r.close()
	r.opts.Keys = nil
	needs(t, r.tryOpen(), ring(1))
	r.opts.Keys = ring(1)
	r.open()
}

// A box that was changed with a right CRC, or put elsewhere, is damage to one
// record, and to no other.
func TestTamperingIsDamageOfOneRecord(t *testing.T) {
	fix := func(b []byte) { reseal(b) }
	tests := []struct {
		name string
		do   func(frames [][]byte)
		want string
	}{
		{"a bit of the text", func(f [][]byte) { f[1][60] ^= 1; fix(f[1]) }, "[0 2 behind]"},
		{"a bit of the nonce", func(f [][]byte) { f[1][15] ^= 1; fix(f[1]) }, "[0 2 behind]"},
		{"the key's name", func(f [][]byte) { f[1][8] ^= 1; fix(f[1]) }, "[0 2 behind]"},
		{"a bit, and no right CRC", func(f [][]byte) { f[1][60] ^= 1 }, "[0 2 behind]"},
		{"the length", func(f [][]byte) { f[1][5] ^= 1 }, "[0 2 behind]"},
		{"the version", func(f [][]byte) { f[1][0] ^= 1 }, "[0 2 behind]"},
		{"the version of the first", func(f [][]byte) { f[0][0] ^= 0x80 }, "[1 2 behind]"},
		{"the last", func(f [][]byte) { f[2][60] ^= 1 }, "[0 1 behind]"},
		{"two are exchanged", func(f [][]byte) { f[0], f[1] = f[1], f[0] }, "[1 2 behind]"},
		{"one stands twice", func(f [][]byte) { f[1] = f[0] }, "[0 2 behind]"},
		{"one claims another's place", func(f [][]byte) {
			f[1] = bytes.Clone(f[0])
			f[1][2] = 1
			fix(f[1])
		}, "[0 2 behind]"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spool.Options{Keys: ring(1)})
			r.accept(draft("t", "0"), draft("t", "1"), draft("t", "2"))
			block := r.find("sm")[0]
			r.accept(draft("other", "x"))
			r.accept(draft("t", "behind"))
			head := block.value[:2]
			size := (len(block.value) - 2) / 3
			frames := [][]byte{}
			for n := range 3 {
				frames = append(frames, block.value[2+n*size:][:size:size])
			}
			tc.do(frames)
			r.behind(func(tx *kv.Tx) { tx.Set(block.key, joined(head, frames)) })
			r.reopen()
			var got []string
			for len(got) < len(strings.Fields(tc.want)) {
				leases := r.lease("t", 0)
				got = append(got, bodies(leases)...)
				r.confirm(leases)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("forwarded %v, want %s", got, tc.want)
			}
			r.none("t")
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || len(a.Missing) != 1 {
				t.Errorf("balanced %v, missing %v (%v)", a.Balanced, a.Missing, err)
			}
		})
	}
}

func joined(head []byte, frames [][]byte) []byte {
	return append(bytes.Clone(head), bytes.Join(frames, nil)...)
}

// An entry that was copied over another of its kind is not believed.
func TestAnEntryIsBoundToItsKey(t *testing.T) {
	r := newRig(t, spool.Options{Keys: ring(1)})
	for i := range 2 {
		r.accept(draft("t", fmt.Sprint(i)))
		r.bury(r.lease("t", 1)[0])
	}
	dead := r.find("sd")
	r.behind(func(tx *kv.Tx) { tx.Set(dead[1].key, dead[0].value) })
	a, err := r.Audit(t.Context())
	if err != nil || a.Balanced || len(a.Missing) != 1 {
		t.Errorf("balanced %v, missing %v (%v)", a.Balanced, a.Missing, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077)) // as the command does: Badger asks for 0666
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.workload(0)
	r.close()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Damage brings nothing into the open, and a lost head, which lists the keys, is
// no reason to take what cannot be decrypted for damage.
func TestDamageOfAnEncryptedSpool(t *testing.T) {
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.workload(0)
	r.whileClosed(func() {
		for _, p := range []string{"sh", "st", "sm", "sx", "sd", "sr", "sk", "si"} {
			r.damaged(p, flipLast)
		}
	})
	d := r.Damage()
	if len(d.Reports) != 1 || len(d.Reports[0].Found) < 6 {
		t.Errorf("%+v", d)
	}
	err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("canary")) {
			t.Errorf("%s holds a canary", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	r.acknowledged(1)
	r.balanced()
	held := r.Ledger().Total.InSpool.Held()
	r.opts.Keys = nil
	r.close()
	if r.db, err = kv.Open(t.Context(), r.kv); err != nil {
		t.Fatal(err)
	}
	r.intruder = nil
	r.removed("sh")
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.tryOpen(); err == nil {
		t.Fatal("it opens without its key")
	}
	r.opts.Keys = ring(1)
	r.open()
	if got := r.Ledger().Total.InSpool.Held(); got != held {
		t.Errorf("%d held, want %d", got, held)
	}
}
