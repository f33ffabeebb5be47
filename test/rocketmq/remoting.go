package rocketmq

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Request and response codes (RequestCode, ResponseCode and
// RemotingSysResponseCode of RocketMQ 5.3.3).
const (
	reqPull           = 11
	reqConsumerOffset = 14
	reqUpdateOffset   = 15
	reqCreateTopic    = 17
	reqUpdateConfig   = 25
	reqReadConfig     = 26
	reqMaxOffset      = 30
	reqRoute          = 105
	reqClusterInfo    = 106
	reqUpdateUser     = 3002

	codeSuccess       = 0
	codePullNotFound  = 19
	codeQueryNotFound = 22
)

// RequestCodes are those of all requests that a Broker is sent by this package,
// as authenticationWhitelist wants them: so that a broker which asks others for
// credentials (authenticationEnabled) takes these without.
func RequestCodes() string {
	var codes []string
	for _, code := range []int{reqPull, reqConsumerOffset, reqUpdateOffset, reqCreateTopic, reqUpdateConfig, reqReadConfig, reqMaxOffset, reqUpdateUser} {
		codes = append(codes, strconv.Itoa(code))
	}
	return strings.Join(codes, ",")
}

// callTimeout is long: what a busy machine keeps waiting is not lost.
const callTimeout = 15 * time.Second

// frame is the header of a request or a response, and its body.
type frame struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int               `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields,omitempty"`

	body []byte
}

// responseError is an answer other than SUCCESS.
type responseError struct {
	Request, Code int
	Remark        string
}

func (e *responseError) Error() string {
	return fmt.Sprintf("request %d answered with code %d: %s", e.Request, e.Code, e.Remark)
}

// call sends one request on a connection of its own and returns the answer; one
// that is not SUCCESS is a *responseError.
func call(addr string, code int, fields map[string]string, body []byte) (frame, error) {
	answer, err := exchange(addr, frame{Code: code, Language: "GO", Opaque: 1, ExtFields: fields, body: body})
	switch {
	case err != nil:
		return frame{}, fmt.Errorf("call %s with request %d: %w", addr, code, err)
	case answer.Code != codeSuccess:
		return frame{}, &responseError{Request: code, Code: answer.Code, Remark: answer.Remark}
	}
	return answer, nil
}

func exchange(addr string, request frame) (frame, error) {
	conn, err := net.DialTimeout("tcp", addr, callTimeout)
	if err != nil {
		return frame{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return frame{}, err
	}
	if err := writeFrame(conn, request); err != nil {
		return frame{}, err
	}
	return readFrame(conn)
}

// writeFrame: length of the rest, length of the header (its top byte 0 for
// JSON), header, body (RemotingCommand.encode).
func writeFrame(w io.Writer, f frame) error {
	header, err := json.Marshal(f)
	if err != nil {
		return err
	}
	buf := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(f.body)))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(header)))
	_, err = w.Write(append(append(buf, header...), f.body...))
	return err
}

func readFrame(r io.Reader) (frame, error) {
	var lengths [2]uint32
	if err := binary.Read(r, binary.BigEndian, &lengths); err != nil {
		return frame{}, err
	}
	total, header := lengths[0], lengths[1]
	if total < 4 || total > 64<<20 || header > total-4 {
		return frame{}, fmt.Errorf("not a JSON frame: lengths %d and %#x", total, header)
	}
	rest := make([]byte, total-4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return frame{}, err
	}
	f := frame{body: rest[header:]}
	return f, json.Unmarshal(rest[:header], &f)
}
