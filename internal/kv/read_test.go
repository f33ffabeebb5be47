package kv

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func keysOf(t testing.TB, r Reader, s Scan) []string {
	t.Helper()
	keys := []string{}
	err := r.Scan(s, func(k, _ []byte) (bool, error) {
		keys = append(keys, string(k))
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestScan(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	w := &write{set: map[string]string{}}
	for _, k := range []string{"a", "b", "b1", "b2", "b3", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff1"} {
		w.set[k] = "v" + k
	}
	mustCommit(t, q, w)
	for _, tt := range []struct {
		prefix, from string
		reverse      bool
		want         string
	}{
		{"b", "", false, "b b1 b2 b3 b\xff b\xff\xff"},
		{"b", "", true, "b\xff\xff b\xff b3 b2 b1 b"},
		{"b", "b2", false, "b2 b3 b\xff b\xff\xff"},
		{"b", "b2", true, "b2 b1 b"},
		{"b", "b25", false, "b3 b\xff b\xff\xff"},
		{"b", "b25", true, "b2 b1 b"},
		{"b", "a", false, "b b1 b2 b3 b\xff b\xff\xff"},
		{"b", "a", true, ""},
		{"b", "c", false, ""},
		{"b", "c", true, "b\xff\xff b\xff b3 b2 b1 b"},
		{"b\xff", "", true, "b\xff\xff b\xff"},
		{"\xff", "", true, "\xff\xff1 \xff"},
		{"\xff\xff", "", false, "\xff\xff1"},
		{"bb", "", true, ""},
		{"bb", "", false, ""},
		{"", "", false, "a b b1 b2 b3 b\xff b\xff\xff c \xff \xff\xff1"},
		{"", "", true, "\xff\xff1 \xff c b\xff\xff b\xff b3 b2 b1 b a"},
		{"", "b3", true, "b3 b2 b1 b a"},
		{"", "b3", false, "b3 b\xff b\xff\xff c \xff \xff\xff1"},
	} {
		s := Scan{Prefix: []byte(tt.prefix), Reverse: tt.reverse}
		if tt.from != "" {
			s.From = []byte(tt.from)
		}
		for _, s.KeysOnly = range []bool{false, true} {
			if got := strings.Join(keysOf(t, db, s), " "); got != tt.want {
				t.Errorf("%q from %q, reverse %t: got %q, want %q", tt.prefix, tt.from, tt.reverse, got, tt.want)
			}
		}
	}
}

func TestScanStopsAndPassesErrorsOn(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	mustCommit(t, q, &write{set: map[string]string{"a": "1", "b": "2", "c": ""}})
	var got []string
	collect := func(k, v []byte) { got = append(got, string(k)+"="+string(v)) }
	err := db.Scan(Scan{}, func(k, v []byte) (bool, error) { collect(k, v); return len(got) < 2, nil })
	if err != nil || !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	broken := errors.New("broken")
	for _, keysOnly := range []bool{false, true} {
		err = db.Scan(Scan{KeysOnly: keysOnly}, func(_, v []byte) (bool, error) {
			if keysOnly && v != nil {
				t.Error("a value in a scan of keys")
			}
			return true, broken
		})
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := db.Get(nil); err == nil || errors.Is(err, ErrNotFound) {
		t.Fatalf("Get of an empty key: %v", err)
	}
}

func TestSnapshotIsConsistent(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	mustCommit(t, q, put("a", "1"))
	err := db.Snapshot(func(r Reader) error {
		mustCommit(t, q, &write{set: map[string]string{"b": "2"}, delete: []string{"a"}})
		if v, err := r.Get([]byte("a")); err != nil || string(v) != "1" {
			t.Errorf("a = %q, %v", v, err)
		}
		if got := keysOf(t, r, Scan{}); !slices.Equal(got, []string{"a"}) {
			t.Errorf("keys %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, db, Scan{}); !slices.Equal(got, []string{"b"}) {
		t.Errorf("keys %q", got)
	}
}

// TestModel runs random commits, reopens and scans against a map.
func TestModel(t *testing.T) {
	key := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', '~'}), 1, 4, -1)
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, dir: t.TempDir(), key: key, want: map[string]string{}}
		m.open()
		defer func() { m.db.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"commit": m.commit,
			"post":   m.post,
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
					m.reopen()
				}
			},
			"scan": m.scan,
			"":     func(*rapid.T) {},
		})
	})
}

type model struct {
	t    *rapid.T
	dir  string
	key  *rapid.Generator[string]
	db   *DB
	q    *Queue[*write]
	want map[string]string
}

func (m *model) open() {
	opts := testOptions(m.dir)
	opts.LazyDelay = 1 // a nanosecond: posted is as good as committed at the next commit
	db, err := Open(context.Background(), opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.db, m.q = db, Attach(db, &writer{})
}

func (m *model) reopen() {
	if err := m.db.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.open()
	if m.db.Stats().Unclean {
		m.t.Fatal("unclean after Close")
	}
}

func (m *model) draw(t *rapid.T) *write {
	w := &write{set: rapid.MapOfN(m.key, rapid.StringN(0, 5, -1), 0, 5).Draw(t, "set")}
	for _, k := range rapid.SliceOfN(m.key, 0, 3).Draw(t, "delete") {
		if _, ok := w.set[k]; !ok {
			w.delete = append(w.delete, k)
		}
	}
	check := m.key.Draw(t, "check")
	want, ok := w.set[check]
	if !ok && !slices.Contains(w.delete, check) {
		want, ok = m.want[check]
	}
	w.do = func(tx *Tx) error {
		v, err := tx.Get([]byte(check))
		if (err == nil) != ok || string(v) != want {
			m.t.Errorf("in the transaction %q = %q, %v; want %q", check, v, err, want)
		}
		return nil
	}
	maps.Copy(m.want, w.set)
	for _, k := range w.delete {
		delete(m.want, k)
	}
	return w
}

func (m *model) commit(t *rapid.T) {
	if err := commit(m.q, m.draw(t)); err != nil {
		t.Fatal(err)
	}
}

func (m *model) post(t *rapid.T) {
	w := m.draw(t)
	m.q.Post(w, w.size())
	if err := commit(m.q, &write{}); err != nil {
		t.Fatal(err)
	}
}

func (m *model) scan(t *rapid.T) {
	s := Scan{Reverse: rapid.Bool().Draw(t, "reverse")}
	s.Prefix = []byte(rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', '~'}), 0, 2, -1).Draw(t, "prefix"))
	if rapid.Bool().Draw(t, "from?") {
		s.From = []byte(m.key.Draw(t, "from"))
	}
	var want []string
	for k := range m.want {
		above := s.From == nil || bytes.Compare([]byte(k), s.From) >= 0
		below := s.From == nil || bytes.Compare([]byte(k), s.From) <= 0
		if strings.HasPrefix(k, string(s.Prefix)) && (s.Reverse && below || !s.Reverse && above) {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	if s.Reverse {
		slices.Reverse(want)
	}
	var got []string
	err := m.db.Scan(s, func(k, v []byte) (bool, error) {
		got = append(got, string(k))
		if string(v) != m.want[string(k)] {
			t.Errorf("%q = %q, want %q", k, v, m.want[string(k)])
		}
		return true, nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("scan %+v: %q, %v; want %q", s, got, err, want)
	}
}
