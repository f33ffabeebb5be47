package peer

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Transactor is a connection that prepares a transaction for each message. It is a
// load.Client.
type Transactor struct {
	*Publisher

	check  string // the member of the request
	decide bool
	text   []byte // room for a body
}

// DialTransactions opens a connection to one of our servers that somebody else runs.
// check is what a request says of check-backs, in JSON. Each transaction is committed
// when it is prepared, or left open when decide is false.
func DialTransactions(ctx context.Context, addr, check string, decide bool) (*Transactor, error) {
	p, err := DialServer(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &Transactor{Publisher: p, check: check, decide: decide}, nil
}

// Send prepares, and commits, a transaction of one message with a text as long as body.
func (t *Transactor) Send(body []byte) error {
	binary.BigEndian.PutUint64(t.id[8:], t.own.sent.Add(1))
	status, content, err := t.post("", t.draft(body))
	if err == nil && status == 201 && t.decide {
		status, content, err = t.post("/"+hex.EncodeToString(t.id[:])+"/commit", nil)
		if err == nil && status == 200 {
			status = 201
		}
	}
	switch {
	case err != nil:
		return err
	case status != 201:
		return fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(content))
	}
	t.own.taken.Add(1)
	return nil
}

// draft is a request to prepare: what is random stays so as text, of which three
// quarters are bytes of body.
func (t *Transactor) draft(body []byte) []byte {
	b := append(hex.AppendEncode(append(t.text[:0], `{"id":"`...), t.id[:]), `","messages":[{"topic":"bench","body":"`...)
	b = base64.RawStdEncoding.AppendEncode(b, body[:len(body)*3/4])
	t.text = append(append(append(b, `"}],"check":`...), t.check...), '}')
	return t.text
}

func (t *Transactor) post(path string, body []byte) (status int, content []byte, err error) {
	b := append(append(t.request[:0], "POST /v1/transactions"...), path...)
	b = append(b, " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	b = append(b, body...)
	t.request = b
	if _, err := t.Write(t.request); err != nil {
		return 0, nil, err
	}
	return t.response.read(t)
}
