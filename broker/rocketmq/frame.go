package rocketmq

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Request codes (org.apache.rocketmq.remoting.protocol.RequestCode).
const (
	reqSend                 = 10
	reqPull                 = 11
	reqQueryMessage         = 12
	reqQueryConsumerOffset  = 14
	reqUpdateConsumerOffset = 15
	reqUpdateTopic          = 17
	reqBrokerConfig         = 26
	reqSearchOffset         = 29
	reqMaxOffset            = 30
	reqMinOffset            = 31
	reqViewMessage          = 33
	reqHeartBeat            = 34
	reqUnregisterClient     = 35
	reqSendBack             = 36
	reqEndTransaction       = 37
	reqGroupMembers         = 38
	reqCheckTransaction     = 39
	reqLockQueues           = 41
	reqUnlockQueues         = 42
	reqCheckClientConfig    = 46
	reqRoute                = 105
	reqClusterInfo          = 106
	reqAllGroupConfigs      = 201
	reqGroupConfig          = 352
)

// Response codes (ResponseCode and RemotingSysResponseCode of RocketMQ 5.3.3).
const (
	codeSuccess             = 0
	codeSystemError         = 1
	codeSystemBusy          = 2
	codeNotSupported        = 3
	codeFlushDiskTimeout    = 10
	codeSlaveNotAvailable   = 11
	codeFlushSlaveTimeout   = 12
	codeMessageIllegal      = 13
	codeServiceNotAvailable = 14
	codeNoPermission        = 16
	codeTopicNotExist       = 17
	codePullNotFound        = 19
	codePullRetry           = 20
	codePullMoved           = 21
	codeQueryNotFound       = 22
	codeSubscriptionParse   = 23
	codeGroupNotExist       = 26
	codeInvalidParameter    = 29
	codeFlowControl         = 215
	codeNotLeader           = 501
	codeGoAway              = 1500
)

// Fields of many requests.
const (
	fieldGroup = "consumerGroup"
	fieldQueue = "queueId"
)

// protocolVersion is what rocketmq-client-go claims to be
// (internal/remote/codec.go:39). Below V3_4_9 a broker ignores the
// maxReconsumeTimes of a send-back.
const protocolVersion = 317

// flagAnswer tells an answer from a request.
const flagAnswer = 1

const maxFrame = 64 << 20 // bytes; an answer larger than that is none

// command is one request or answer of RocketMQ's remoting protocol.
type command struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int               `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields,omitempty"`

	body []byte
}

func newCommand(code int, fields map[string]string, body []byte) command {
	return command{Code: code, Language: "GO", Version: protocolVersion, ExtFields: fields, body: body}
}

// responseError is an answer other than SUCCESS.
type responseError struct {
	Code   int
	Remark string
}

func (e *responseError) Error() string {
	return fmt.Sprintf("broker answered with code %d: %s", e.Code, e.Remark)
}

// codeOf returns the code of a responseError in err's chain.
func codeOf(err error) (code int, ok bool) {
	if re, ok := errors.AsType[*responseError](err); ok {
		return re.Code, true
	}
	return 0, false
}

// encodeFrame: length of what follows, length of the header (its top
// byte, 0, says JSON), header, body.
func encodeFrame(c command) ([]byte, error) {
	header, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	dst := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(c.body)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(header)))
	return append(append(dst, header...), c.body...), nil
}

func readFrame(r io.Reader) (command, error) { return readFrameUpTo(r, maxFrame) }

// readFrameUpTo takes no frame above so many bytes.
func readFrameUpTo(r io.Reader, most uint32) (command, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return command{}, err
	}
	total, header := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if total < 4 || total > most || header > total-4 {
		return command{}, fmt.Errorf("not a JSON frame: lengths %d and %#x", total, header)
	}
	rest := make([]byte, total-4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return command{}, err
	}
	c := command{body: rest[header:]}
	if err := json.Unmarshal(rest[:header], &c); err != nil {
		return command{}, fmt.Errorf("read header: %w", err)
	}
	return c, nil
}
