package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
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
func parseObject(text []byte) (members []member, err error) {
	if err := valid(text); err != nil {
		return nil, err
	}
	return membersOf(text)
}

// membersOf is parseObject of what is known to be valid JSON.
func membersOf(text []byte) (members []member, err error) {
	var seen map[string]bool
	members = make([]member, 0, usualMembers)
	err = split(text, '{', func(element []byte) error {
		end := skipValue(element)
		name, err := nameIn(element[:end])
		if err != nil {
			return err
		}
		if len(members) == mostMembers {
			return invalidJSON("an object has more than %d names", mostMembers)
		}
		if seen[name] || seen == nil && slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			return invalidJSON("the name %.100q stands twice in one object", name)
		}
		value := bytes.TrimLeft(element[end:], space+":")
		if members = append(members, member{name, value}); len(members) >= fewMembers {
			seen = noted(seen, members)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

const (
	// usualMembers are as many as most objects have, or more.
	usualMembers = 6
	// fewMembers are looked through one by one.
	fewMembers = 16
	// mostMembers are more than a message can have of properties. What an object of
	// small members takes in memory is many times its text, which alone is counted.
	mostMembers = 10_000
)

// noted adds the last name, or all when there were none.
func noted(seen map[string]bool, members []member) map[string]bool {
	if seen != nil {
		seen[members[len(members)-1].name] = true
		return seen
	}
	seen = map[string]bool{}
	for _, m := range members {
		seen[m.name] = true
	}
	return seen
}

// parseArray calls item for each element of one JSON array.
func parseArray(text []byte, item func(json.RawMessage) error) error {
	if err := valid(text); err != nil {
		return err
	}
	return elementsOf(text, item)
}

// elementsOf is parseArray of what is known to be valid JSON.
func elementsOf(text []byte, item func(json.RawMessage) error) error {
	return split(text, '[', func(element []byte) error { return item(element) })
}

// valid refuses what is no JSON, and says where.
func valid(text []byte) error {
	var room [512]byte
	if bones, ok := skeleton(room[:0], text); ok && json.Valid(bones) || !ok && json.Valid(text) {
		return nil
	}
	var into json.RawMessage
	return syntaxProblem(json.Unmarshal(text, &into))
}

// skeleton appends text with empty strings in place of those that stand for their own
// bytes: it is JSON exactly if text is, and encoding/json, which looks at each byte,
// has little left of a text that is mostly a body. false: it has no room in b.
func skeleton(b, text []byte) (bones []byte, ok bool) {
	for {
		quote := bytes.IndexByte(text, '"')
		if quote < 0 {
			if len(b)+len(text) > cap(b) {
				return nil, false
			}
			return append(b, text...), true
		}
		end := quote + skipString(text[quote:])
		bone := text[quote:end]
		if ownBytes(bone) {
			bone = emptyString
		}
		if len(b)+quote+len(bone) > cap(b) {
			return nil, false
		}
		b, text = append(append(b, text[:quote]...), bone...), text[end:]
	}
}

var emptyString = []byte(`""`)

// ownBytes reports a whole string without escapes, and without what has to be one.
func ownBytes(text []byte) bool {
	last := len(text) - 1
	if last < 1 || text[last] != '"' || bytes.IndexByte(text, '\\') >= 0 {
		return false
	}
	for _, c := range text {
		if c < ' ' {
			return false
		}
	}
	return true
}

const space = " \t\r\n"

// split calls do with each element of an object or array of valid JSON. Of an object
// these are a name, a colon and a value.
func split(text []byte, opens byte, do func(element []byte) error) error {
	text = bytes.Trim(text, space)
	if text[0] != opens {
		return invalidJSON("it does not begin with %q", rune(opens))
	}
	text = bytes.TrimLeft(text[1:len(text)-1], space)
	for len(text) > 0 {
		end := skipElement(text)
		if err := do(bytes.TrimRight(text[:end], space)); err != nil {
			return err
		}
		text = bytes.TrimLeft(text[min(end+1, len(text)):], space)
	}
	return nil
}

// skipElement is where the comma behind an element stands, or the end.
func skipElement(text []byte) int {
	for i := 0; i < len(text); {
		switch text[i] {
		case ',':
			return i
		case '"', '{', '[':
			i += skipValue(text[i:])
		default:
			i++
		}
	}
	return len(text)
}

// skipValue is the length of the string, object or array at the beginning of text.
func skipValue(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += skipString(text[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}

// skipString is the length of the string at the beginning of text. It passes each
// byte twice at most: a quote that was found is kept while escapes before it are.
func skipString(text []byte) int {
	for i := 1; i < len(text); {
		next := bytes.IndexByte(text[i:], '"')
		if next < 0 {
			break
		}
		quote := i + next
		for i < quote {
			slash := bytes.IndexByte(text[i:quote], '\\')
			if slash < 0 {
				i = quote
				break
			}
			i += slash + len(`\n`)
		}
		if i == quote {
			return quote + 1
		}
	} // else the quote was escaped, and i is behind it
	return len(text)
}

// nameIn reads the name of a member. Those that mean something here are known.
func nameIn(text []byte) (string, error) {
	if name, known := memberNames[string(text)]; known {
		return name, nil
	}
	return stringOf(text)
}

// The options that there are.
var (
	transactionNames = []string{"id", "mode", "check", "messages"}
	checkNames       = []string{"url", "after", "interval", "max_attempts", "on_exhausted"}
	itemNames        = []string{
		"topic", "body", "body_base64", "tag", "keys", "ordering_key", "properties", "content_type", "idempotency_key", "delay", "deliver_at", "ttl",
	}
)

// leftOut reports an option, one of names, that is null: it is as if it were not there.
func (m member) leftOut(names []string) bool {
	return string(m.value) == "null" && slices.Contains(names, m.name)
}

// memberNames are the names, by how they stand in a text.
var memberNames = func() map[string]string {
	names := map[string]string{}
	for _, name := range slices.Concat(transactionNames, checkNames, itemNames) {
		names[`"`+name+`"`] = name
	}
	return names
}()

// stringOf reads a string of valid JSON.
func stringOf(text []byte) (s string, err error) {
	if plainString(text) {
		return string(text[1 : len(text)-1]), nil
	}
	return s, json.Unmarshal(text, &s)
}

// plainString reports a string that stands for its own bytes.
func plainString(text []byte) bool {
	return len(text) > 1 && text[0] == '"' && bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text)
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
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		high := surrogate(text)
		switch {
		case high == 'h' && surrogate(text[6:]) == 'l':
			text = text[12:]
		case high != 0:
			return true
		default:
			text = text[min(2, len(text)):] // the escaped character may be a backslash
		}
	}
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
