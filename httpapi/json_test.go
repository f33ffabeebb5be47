package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// FuzzSplit takes JSON apart as encoding/json does, token by token.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, ` { "a" : 1 , "b":[1,2, {"c":"}]"}] } `, `[ 1 ,"a\"b,", {"x":[]} ,null,-1.5e3,true ]`, `{"\u0061":"\\","":""}`, `{"a":1,"\u0061":2}`,
		`[[[]],{"a":{}},"\\\\\"" ]`, `{"a":"` + strings.Repeat("x", 100) + `\\"}`, `[`, `{"a"`, `{"a":}`, `[1,]`, `{"a":1}x`, `"a"`, `1`, ``, "[\"\xff\"]", `{"ä":"ü\ud83d\ude00"}`,
		"{\"a\":\"\x01\"}", "[\"\t\"]", `["]`, `["\"]`, `["\"`, `[" \q"]`, `["a""b"]`, `["` + strings.Repeat("x", 600) + `",` + strings.Repeat(" ", 600) + `]`,
		many(20), many(16) + " ", strings.Replace(many(40), "m7", "m3", 1),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		was := bytes.Clone(text)
		members, err := parseObject(text)
		want, wantErr := objectByToken(text)
		if (err == nil) != (wantErr == nil) || fmt.Sprint(members) != fmt.Sprint(want) {
			t.Fatalf("%q is %q, %v; encoding/json takes it for %q, %v", text, members, err, want, wantErr)
		}
		if err != nil {
			requireProblem(t, err)
		}
		var elements []json.RawMessage
		err = parseArray(text, func(e json.RawMessage) error { elements = append(elements, e); return nil })
		var whole []json.RawMessage
		isArray := json.Unmarshal(text, &whole) == nil && bytes.HasPrefix(bytes.TrimLeft(text, space), []byte("["))
		if (err == nil) != isArray || isArray && fmt.Sprintf("%q", elements) != fmt.Sprintf("%q", whole) {
			t.Fatalf("%q is %q, %v; encoding/json takes it for %q", text, elements, err, whole)
		}
		if !bytes.Equal(text, was) {
			t.Fatal("the text was changed")
		}
		for _, m := range members {
			var got, want string
			if isString := json.Unmarshal(m.value, &want) == nil && m.value[0] == '"'; isString && (m.text(&got) != nil || got != want) {
				t.Fatalf("%q is read as %q", m.value, got)
			}
		}
	})
}

// A body of many lines is read once, not once for each of its escapes.
func TestManyEscapesAreReadOnce(t *testing.T) {
	body := strings.Repeat(`\n0123\\`, 400_000)
	text := []byte(`[{"topic":"orders","body":"` + body + `"}]`)
	began, read := time.Now(), 0
	err := parseArray(text, func(element json.RawMessage) error {
		var d spool.Draft
		members, err := membersOf(element)
		_, err = readItem(&d, members, err)
		read += len(d.Body)
		return err
	})
	if err != nil || read != 6*400_000 {
		t.Errorf("%d bytes of a body, %v", read, err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// many is an object with so many members.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

// objectByToken reads an object in which no name stands twice.
func objectByToken(text []byte) (members []member, err error) {
	if !json.Valid(text) {
		return nil, errors.New("invalid")
	}
	dec, seen := json.NewDecoder(bytes.NewReader(text)), map[string]bool{}
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("no object")
	}
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok || seen[name] {
			return nil, errors.New("twice")
		}
		seen[name] = true
		m := member{name: name}
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows")
	}
	return members, nil
}
