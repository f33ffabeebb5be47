package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/remora-mq/remora/internal/problem"
)

// typeJSON is the media type of requests and answers.
const typeJSON = "application/json"

// member is one name and value of a JSON object, in the order sent.
type member struct {
	name  string
	value json.RawMessage
}

// parseObject reads one JSON object strictly: names exactly as written, none
// twice. encoding/json alone takes "Topic" for topic and the last of two.
func parseObject(text []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := expect(dec, '{'); err != nil {
		return nil, err
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, syntaxProblem(err)
		}
		if seen[name] {
			return nil, invalidJSON("the name %.100q stands twice in one object", name)
		}
		seen[name] = true
		m := member{name: name}
		if err := dec.Decode(&m.value); err != nil {
			return nil, syntaxProblem(err)
		}
		members = append(members, m)
	}
	return members, ending(dec, '}')
}

// parseArray calls item for each element of one JSON array.
func parseArray(text []byte, item func(json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := expect(dec, '['); err != nil {
		return err
	}
	for dec.More() {
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return syntaxProblem(err)
		}
		if err := item(element); err != nil {
			return err
		}
	}
	return ending(dec, ']')
}

// parseLines calls item for each line of NDJSON that is not blank.
func parseLines(text []byte, item func(json.RawMessage) error) error {
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := item(line); err != nil {
			return err
		}
	}
	return nil
}

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return syntaxProblem(err)
	}
	if token != want {
		return invalidJSON("it does not begin with %q", rune(want))
	}
	return nil
}

// ending reads the closing delimiter and makes sure that nothing follows it.
func ending(dec *json.Decoder, want json.Delim) error {
	if err := expect(dec, want); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalidJSON("something follows its end, at byte %d", dec.InputOffset())
	}
	return nil
}

// validText refuses what encoding/json would replace in silence: bytes that are
// not UTF-8, and escapes of half a surrogate pair. A body must not change.
func validText(text []byte) error {
	if !utf8.Valid(text) {
		return invalidJSON("it is not valid UTF-8; send other bytes as body_base64")
	}
	if halfSurrogate(text) {
		return invalidJSON("it has a \\u escape of half a surrogate pair; send other bytes as body_base64")
	}
	return nil
}

// halfSurrogate reports an escape of D800–DFFF that has no other half.
func halfSurrogate(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		high := surrogate(text[i:])
		switch {
		case high == 'h' && surrogate(text[i+6:]) == 'l':
			i += 11
		case high != 0:
			return true
		default:
			i++ // the escaped character may be a backslash
		}
	}
	return false
}

// surrogate tells whether text begins with an escape of a high ('h') or a low
// ('l') surrogate.
func surrogate(text []byte) byte {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' || text[2]|0x20 != 'd' {
		return 0
	}
	switch text[3] | 0x20 { // which leaves digits as they are
	case '8', '9', 'a', 'b':
		return 'h'
	case 'c', 'd', 'e', 'f':
		return 'l'
	}
	return 0
}

func syntaxProblem(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return invalidJSON("%s, at byte %d", syntax.Error(), syntax.Offset)
	}
	return invalidJSON("it ends too early or is malformed")
}

func invalidJSON(format string, args ...any) error {
	return problem.New(problem.InvalidJSON, format, args...)
}
