package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// readObject reads a body of one JSON object into v. form shows what it may have.
func readObject(r *http.Request, v any, form string) *problem.Problem {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxResendBody+1))
	if err != nil {
		return problem.New(problem.InvalidRequest, "the body could not be read: %s", err)
	}
	if len(body) > maxResendBody {
		return problem.New(problem.InvalidOption, "the body has more than %d bytes; name at most %d IDs at a time", maxResendBody, maxResendIDs)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return problem.New(problem.InvalidJSON, "%s; send %s", err, form)
	}
	if d.More() {
		return problem.New(problem.InvalidJSON, "something follows the object")
	}
	if err := checkMembers(json.NewDecoder(bytes.NewReader(body)), "the body"); err != nil {
		return problem.New(problem.InvalidOption, "%s", err)
	}
	return nil
}

// checkMembers refuses what would be left out in silence, and so have more done than was
// meant: a text or a list that is given and empty, and all but the last of a member that
// stands twice. encoding/json takes names that differ in case only for the same
// (encoding/json, Unmarshal).
func checkMembers(d *json.Decoder, name string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case "":
		return fmt.Errorf("%s is given and empty; give it a value, or leave it out", name)
	case json.Delim('{'):
		err = checkObject(d)
	case json.Delim('['):
		err = checkList(d, name)
	}
	return err
}

func checkObject(d *json.Decoder) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%.40q", token)
		folded := strings.ToLower(strings.ToUpper(name))
		if seen[folded] {
			return fmt.Errorf("%s is given twice; give it once", name)
		}
		seen[folded] = true
		if err := checkMembers(d, name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func checkList(d *json.Decoder, name string) error {
	if !d.More() {
		return fmt.Errorf("%s is given and empty; give it a value, or leave it out", name)
	}
	for d.More() {
		if err := checkMembers(d, "one of "+name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}
