package transaction

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// answer is what an application says of a transaction.
type answer int

const (
	unknown answer = iota
	commit
	rollback
)

var answers = map[string]answer{"COMMIT": commit, "ROLLBACK": rollback, "UNKNOWN": unknown}

// maxAnswer bounds the body of an answer, in bytes.
const maxAnswer = 4 << 10

// read takes the body of a 200 for an answer: a word, or an object that has it as
// state and nothing else. Of anything else it says what that is.
func read(body []byte) (answer, string) {
	word := string(bytes.TrimSpace(body))
	if state, ok := stateOf(word); ok {
		word = state
	}
	if a, ok := answers[word]; ok {
		return a, "UNKNOWN"
	}
	return unknown, fmt.Sprintf("200 with a body that is no answer: %.100q", body)
}

// stateOf reads an object with one field, token by token: a second state, or
// anything besides, makes it another thing.
func stateOf(text string) (state string, ok bool) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	for _, want := range []any{json.Delim('{'), "state", nil, json.Delim('}')} {
		token, err := d.Token()
		if err != nil || want != nil && token != want {
			return "", false
		}
		if want == nil {
			if state, ok = token.(string); !ok {
				return "", false
			}
		}
	}
	_, err := d.Token()
	return state, err == io.EOF
}
