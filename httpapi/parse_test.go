package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// TestEveryRefusalOfAMessageHasAKind: a code of message.Invalid that the table
// does not have would be answered 500.
func TestEveryRefusalOfAMessageHasAKind(t *testing.T) {
	full := func(change func(*message.Message)) error {
		m := message.Message{Topic: "t", Body: []byte("x")}
		change(&m)
		return m.Validate(10)
	}
	for _, err := range []error{
		full(func(m *message.Message) { m.Topic = "" }),
		full(func(m *message.Message) { m.Body = nil }),
		full(func(m *message.Message) { m.Body = make([]byte, 11) }),
		full(func(m *message.Message) { m.Tag = "|" }),
		full(func(m *message.Message) { m.Keys = []string{""} }),
		full(func(m *message.Message) { m.OrderingKey = "\x00" }),
		full(func(m *message.Message) { m.ContentType = "\x00" }),
		full(func(m *message.Message) { m.ContentEncoding = "\x00" }),
		full(func(m *message.Message) { m.TraceParent = "\x00" }),
		full(func(m *message.Message) { m.TraceState = "\x00" }),
		full(func(m *message.Message) { m.Properties = []message.Property{{Name: "a"}} }),
		full(func(m *message.Message) { m.Properties = []message.Property{{Name: "UNIQ_KEY", Value: "x"}} }),
		full(func(m *message.Message) {
			m.Properties = []message.Property{{Name: "a", Value: strings.Repeat("x", 40_000)}}
		}),
	} {
		if p := problemOf(err); err == nil || p.Code == problem.Internal || p.Status < 400 || p.Status >= 500 {
			t.Errorf("%v becomes %d %s", err, p.Status, p.Code)
		}
	}
}

// TestFingerprint: every field counts, and none can be mistaken for another.
func TestFingerprint(t *testing.T) {
	base := message.Message{
		Topic: "t", Tag: "a", OrderingKey: "o", ContentType: "c", ContentEncoding: "e",
		Keys: []string{"k1", "k2"}, Properties: []message.Property{{Name: "p", Value: "1"}}, Body: []byte("body"),
	}
	sum := func(change func(*message.Message)) [16]byte {
		m := base
		change(&m)
		return fingerprint(&m, "", "", "")
	}
	same := []func(*message.Message){
		func(*message.Message) {},
		func(m *message.Message) { m.TraceParent, m.TraceState = "x", "y" },
		func(m *message.Message) {
			m.ID, m.Seq, m.AcceptedAt = message.NewID(message.SpoolID{}, 1, 1, time.Now()), 1, time.Now()
		},
		func(m *message.Message) {
			m.Properties = append([]message.Property{{Name: "ce-traceparent", Value: "x"}}, m.Properties...)
		},
	}
	for i, change := range same {
		if sum(change) != sum(same[0]) {
			t.Errorf("change %d, which must not count, counts", i)
		}
	}
	seen := map[[16]byte]int{sum(same[0]): -1}
	for i, change := range []func(*message.Message){
		func(m *message.Message) { m.Topic = "u" },
		func(m *message.Message) { m.Tag = "" },
		func(m *message.Message) { m.Tag, m.OrderingKey = "ao", "" },
		func(m *message.Message) { m.OrderingKey = "" },
		func(m *message.Message) { m.ContentType = "d" },
		func(m *message.Message) { m.ContentEncoding = "" },
		func(m *message.Message) { m.Keys = []string{"k1k2"} },
		func(m *message.Message) { m.Keys = []string{"k2", "k1"} },
		func(m *message.Message) { m.Keys = nil },
		func(m *message.Message) { m.Properties = nil },
		func(m *message.Message) { m.Properties = []message.Property{{Name: "p1", Value: ""}} },
		func(m *message.Message) { m.Properties = []message.Property{{Name: "p", Value: "2"}} },
		func(m *message.Message) { m.Keys = []string{"k1", "k2", "p", "1"}; m.Properties = nil },
		func(m *message.Message) { m.Body = []byte("bodz") },
		func(m *message.Message) { m.Body = nil },
	} {
		s := sum(change)
		if first, taken := seen[s]; taken {
			t.Errorf("changes %d and %d have one fingerprint", first, i)
		}
		seen[s] = i
	}
	// It is stored with the key, so a version always gives the same.
	if got, want := fmt.Sprintf("%x", fingerprint(&base, "1s", "2s", "3s")), "90b3cadf9fef6c8a86483fe32f49ea50"; got != want {
		t.Errorf("version %d gives %s, want %s", fingerprintVersion, got, want)
	}
	for _, schedule := range [][3]string{{"1s", "", ""}, {"", "1s", ""}, {"", "", "1s"}} {
		s := fingerprint(&base, schedule[0], schedule[1], schedule[2])
		if _, taken := seen[s]; taken {
			t.Errorf("schedule %v does not count", schedule)
		}
		seen[s] = 0
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", `""`, `"a"`, "a", `"a\"b"`, `"a`, `a"`, "ce\na\nb", `"\\"`, "a;b", strings.Repeat("k", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := parseKey(s)
		if err != nil {
			requireProblem(t, err)
			return
		}
		if key == "" || len(key) > maxKey || strings.IndexFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) >= 0 {
			t.Fatalf("%q gives the key %q", s, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := parseKey(quoted); err != nil || again != key {
			t.Fatalf("%q, quoted as %q, gives %q, %v", key, quoted, again, err)
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"", "wait=5", "wait=5s", `respond-async, wait="5"; x=y`, "wait", "wait=-1", "wait=1e9", "wait=99999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := request{fields: fields{text: s, all: []field{{is: namePrefer, to: len(s)}}, seen: namePrefer}}
		var p publication
		if err := readWait(&r, &p); err != nil {
			requireProblem(t, err)
		} else if p.wait < 0 {
			t.Fatalf("%q waits %s", s, p.wait)
		}
	})
}

func FuzzProperty(f *testing.F) {
	for _, s := range []string{"", "a=b", "a=%20", "a=%", "=", "a==", "a=%00", "ä=%ff", " a = b "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, value, err := parseProperty(s)
		if err != nil {
			requireProblem(t, err)
			return
		}
		if name == "" || strings.Contains(name, "=") || len(name)+len(value) > len(s) {
			t.Fatalf("%q gives %q = %q", s, name, value)
		}
		m := message.Message{Topic: "t", Body: []byte("x"), Properties: []message.Property{{Name: name, Value: value}}}
		if err := m.Validate(0); err == nil && (!utf8.ValidString(name+value) || strings.ContainsAny(name+value, "\x00\x01\x02")) {
			t.Fatalf("%q was let through as %q = %q", s, name, value)
		}
	})
}

func FuzzContentDigest(f *testing.F) {
	for _, s := range []string{"", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", "sha-256=::", "sha-256=:x", "md5=:AA==:", "a=b, sha-512=:AA==:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		digests, err := parseDigests(s)
		if err != nil {
			requireProblem(t, err)
			return
		}
		for _, d := range digests {
			if len(d.want) != digestSizes[d.algorithm] {
				t.Fatalf("%q gives a %s of %d bytes", s, d.algorithm, len(d.want))
			}
		}
		if len(digests) == 0 {
			t.Fatalf("%q was let through with nothing to verify", s)
		}
	})
}

func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		`[]`, `[{"topic":"a","body":"x"}]`, "{\"topic\":\"a\",\"body\":\"x\"}\n{}", `[{"topic":"a","body_base64":"eA==","keys":["k"],"properties":{"p":"1"}}]`,
		`[{"topic":"a","body":"\ud83d\ude00"}]`, `[{"topic":"a","body":"\ud83d"}]`, `[[[[`, `[{"a":1,"a":2}]`, "[\xff]", `[null]`,
	} {
		f.Add([]byte(s))
	}
	s := New(Options{}, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := validText(text); err != nil {
			requireProblem(t, err)
			return
		}
		for _, each := range []func([]byte, func(json.RawMessage) error) error{parseArray, parseLines} {
			b := &batch{limit: 10}
			err := each(text, func(element json.RawMessage) error {
				return b.add(func(d *spool.Draft) error {
					p, err := parseItem(d, element)
					if err != nil {
						return err
					}
					return s.draft(&p)
				})
			})
			if err == nil {
				err = b.check()
			}
			if err != nil {
				requireProblem(t, err)
				continue
			}
			for _, d := range b.drafts {
				if err := d.Validate(0); err != nil {
					t.Fatalf("%q lets through %v", text, err)
				}
			}
		}
	})
}

func FuzzFields(f *testing.F) {
	for _, s := range []string{"\r\n", "A: b\r\n\r\n", "A:b\r\nB: c\r\n\r\n", "A: b\n\n", " A: b\r\n\r\n", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := slices.Clone(raw)
		var list fields
		err := list.parse(raw, false)
		if !slices.Equal(before, raw) {
			t.Fatal("the block was changed")
		}
		if err != nil {
			requireProblem(t, err)
			return
		}
		if list.has(nameContentLength) && list.has(nameTransferEncoding) {
			t.Fatalf("%q has two framings", raw)
		}
		for i := range list.all {
			name, value := list.name(i), list.value(i)
			if name == "" || name != strings.ToLower(name) || strings.ContainsAny(name+value, "\r\n\x00") || value != strings.Trim(value, " \t") {
				t.Fatalf("%q gives %q: %q", raw, name, value)
			}
		}
	})
}

// requireProblem asserts that a refusal is one of ours, of the client's fault.
func requireProblem(t *testing.T, err error) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status >= 500 || p.Detail == "" {
		t.Fatalf("refused with %v", err)
	}
}
