package kv

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// headDir is a directory with a new head.
func headDir(t *testing.T) *directory {
	t.Helper()
	path := t.TempDir()
	file, err := os.Open(path)
	must(t, err)
	d := &directory{path: path, file: file}
	d.head, err = d.createHead(head{magic: 7, secret: [32]byte{1, 2}})
	must(t, err)
	t.Cleanup(func() { _ = errors.Join(d.head.file.Close(), file.Close()) })
	return d
}

func readHead(t *testing.T, d *directory) head {
	t.Helper()
	h, exists, ok, err := d.readHead()
	if err != nil || !exists || !ok {
		t.Fatalf("exists %t, ok %t, %v", exists, ok, err)
	}
	return h
}

// TestHeadSurvivesATornWrite breaks each slot: the other is still read.
func TestHeadSurvivesATornWrite(t *testing.T) {
	d := headDir(t)
	first := readHead(t, d)
	next := first
	next.highWater, next.epoch, next.log, next.offset = 9, 2, 3, 4000
	must(t, d.head.write(next))
	next.generation = first.generation + 1
	if got := readHead(t, d); got != next {
		t.Fatalf("%+v, want %+v", got, next)
	}
	path := filepath.Join(d.path, headName)
	flip(t, path, int(next.slot())+20)
	if got := readHead(t, d); got != first {
		t.Errorf("newest slot torn: %+v, want %+v", got, first)
	}
	flip(t, path, int(first.slot())+20)
	if _, exists, ok, err := d.readHead(); !exists || ok || err != nil {
		t.Errorf("both slots broken: exists %t, ok %t, %v", exists, ok, err)
	}
}

func TestHeadRefusesEachFlip(t *testing.T) {
	h := head{generation: 1, highWater: 5, secret: [32]byte{9}}
	for bit := range headSize * 8 {
		b := h.encode()
		b[bit/8] ^= 1 << (bit % 8)
		if _, ok := decodeHead(b); ok {
			t.Errorf("bit %d flipped and read", bit)
		}
	}
	if got, ok := decodeHead(append(h.encode(), 1, 2)); !ok || got != h {
		t.Errorf("%+v, %t", got, ok)
	}
}

// TestHeadFollows holds how far the head may be behind.
func TestHeadFollows(t *testing.T) {
	d := headDir(t)
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(d, func(err error) { t.Error(err) }, newStalls(Options{}.withDefaults()).watch(headName))
		go k.run(nil)
		k.committed(1)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := readHead(t, d).highWater; got != 1 {
			t.Errorf("100 ms after the last commit the head is at %d", got)
		}
		began := time.Now()
		for number := uint64(2); time.Since(began) < 5*time.Second; number++ { // a commit each 10 ms, without a pause
			k.committed(number)
			time.Sleep(10 * time.Millisecond)
			if got := readHead(t, d).highWater; number > 101 && got+100 < number {
				t.Fatalf("the head is at %d when commit %d, a second later, is done", got, number)
			}
		}
		if n := readHead(t, d).generation; n > 10 {
			t.Errorf("%d writes in 5 s", n)
		}
		<-k.end()
	})
}

func TestHeadNotesTheLog(t *testing.T) {
	opts := testOptions(t.TempDir())
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	var place logPlace
	for n := range 3 {
		fill(t, q, n*400, (n+1)*400) // with rotations
		must(t, place.follow(db.dir, db.keeper.reached.Load()))
		logs, err := db.dir.logs()
		must(t, err)
		newest := logs[len(logs)-1]
		data, err := os.ReadFile(filepath.Join(opts.Dir, newest.name))
		must(t, err)
		if want := scanLog(data, span{0, 1 << 20}, db.sealed).end; place != (logPlace{newest.id, want}) {
			t.Errorf("at %+v, want the end of %s, %d", place, newest.name, want)
		}
	}
}

// TestFailedHeadFences: a head that cannot be written is a disk that fails.
func TestFailedHeadFences(t *testing.T) {
	db := openDoomed(t, testOptions(t.TempDir()))
	readOnly, err := os.Open(filepath.Join(db.opts.Dir, headName))
	must(t, err)
	must(t, db.dir.head.file.Close())
	db.dir.head.file = readOnly
	q := Attach(db, &writer{})
	_ = commit(q, put("k", "v")) // which may be answered before the head is written, or not
	<-db.Failed()
	if err := db.Err(); !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), headName) {
		t.Error(err)
	}
}

func TestEachOpenIsAnEpoch(t *testing.T) {
	opts := testOptions(t.TempDir())
	for want := uint64(1); want < 4; want++ {
		db, err := Open(t.Context(), opts)
		must(t, err)
		q := Attach(db, &writer{})
		mustCommit(t, q, put("k", "v"))
		must(t, db.Close())
		if h := readHead(t, db.dir); h.epoch != want || h.highWater != want || h.log != 0 {
			t.Errorf("after %d opens with a commit each: %+v", want, h)
		}
	}
}

// TestTheLastCommitStaysKnown: tables alone tell how far the database came,
// also when all that was written is deleted and compacted away.
func TestTheLastCommitStaysKnown(t *testing.T) {
	opts := testOptions(t.TempDir())
	db, err := Open(t.Context(), opts)
	must(t, err)
	q := Attach(db, &writer{})
	fill(t, q, 0, 2500)
	for n := range 2500 {
		q.Post(&write{delete: []string{numbered(n)}}, 20)
	}
	mustCommit(t, q, &write{delete: []string{"nothing"}})
	reached := db.keeper.reached.Load()
	must(t, db.Close())
	for range 2 {
		db, err = Open(t.Context(), opts)
		must(t, err)
		must(t, flatten(db))
		must(t, db.Close())
	}
	i, err := db.dir.inspect(true, 0)
	must(t, err)
	if i.last != reached || len(i.found) > 0 {
		t.Errorf("the tables end at commit %d, want %d; %s", i.last, reached, describe(i.found))
	}
}

// TestSealIsHidden: the seal is in every commit and in no scan.
func TestSealIsHidden(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	mustCommit(t, q, put("a", "1"))
	mustCommit(t, q, &write{})
	if got := db.keeper.reached.Load(); got != 1 {
		t.Errorf("commit %d was sealed, want only the one that wrote", got)
	}
	seal, err := db.Get(sealKey)
	if err != nil || !bytes.Equal(seal, db.sealed.of(1)) {
		t.Errorf("seal %x, %v", seal, err)
	}
	for _, reverse := range []bool{false, true} {
		if got := keysOf(t, db, Scan{Reverse: reverse}); len(got) != 1 {
			t.Errorf("scan shows %q", got)
		}
	}
}
