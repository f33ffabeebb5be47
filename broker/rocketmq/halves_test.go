package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// halfServer is name server and broker in one.
type halfServer struct {
	*fakeServer

	answers map[int]command // by request; else SUCCESS
}

func serveHalves(t *testing.T) *halfServer {
	s := &halfServer{answers: map[int]command{}}
	s.fakeServer = serve(t, func(c command) *command {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, other := s.answers[c.Code]; c.Code == reqRoute && !other {
			body, _ := json.Marshal(map[string]any{
				"brokerDatas": []any{map[string]any{"brokerName": "b", "brokerAddrs": map[string]string{"0": s.addr}}},
				"queueDatas":  []any{map[string]any{"brokerName": "b", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6}},
			})
			return &command{body: body}
		}
		a := s.answers[c.Code]
		return &a
	})
	s.answers[reqSend] = command{ExtFields: map[string]string{
		"msgId": "7F0000010000271100000000000003E8", "queueOffset": "12", "transactionId": "TX", "queueId": "0"}}
	return s
}

func (s *halfServer) requests(code int) (all []command) {
	calls, _ := s.seen()
	for _, c := range calls {
		if c.Code == code {
			all = append(all, c)
		}
	}
	return all
}

func (s *halfServer) answer(code int, c command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[code] = c
}

func (s *halfServer) client(t *testing.T) *Halves {
	t.Helper()
	h, err := NewHalves(ProducerOptions{
		NameServers: []string{s.addr}, Group: "g", Keys: func() Keys { return Keys{"key", "secret"} }, AttemptTimeout: 3 * time.Second,
	}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	serving.Go(func() { h.Serve(ctx, func(context.Context, broker.HalfCheck) {}) })
	t.Cleanup(func() {
		stop()
		serving.Wait()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func halfMessage() *message.Message {
	return &message.Message{
		ID: message.NewID(message.SpoolID{1}, 1, 7, time.Now()), Topic: "orders", Tag: "paid", Body: []byte("an order"),
		Properties: []message.Property{{Name: "shop", Value: "berlin"}},
	}
}

func TestPreparedAfterTheGroupIsRegistered(t *testing.T) {
	s := serveHalves(t)
	m := halfMessage()
	place, err := s.client(t).Prepare(t.Context(), m, broker.Half{Transaction: "order-7", Number: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := message.HalfPlace{Topic: "orders", Broker: "b", Address: s.addr, Group: "g", Queue: "b/0", QueueOffset: 12, LogOffset: 1000,
		OffsetMessageID: "7F0000010000271100000000000003E8", MessageID: m.ID.String(), TransactionID: "TX"}
	if place != want {
		t.Errorf("it is at %+v, want %+v", place, want)
	}
	calls, _ := s.seen()
	var order []int
	for _, c := range calls {
		if c.Code != reqRoute {
			order = append(order, c.Code)
		}
	}
	if len(order) != 2 || order[0] != reqHeartBeat || order[1] != reqSend {
		t.Fatalf("requests %v", order)
	}
	beat, sent := s.requests(reqHeartBeat)[0], s.requests(reqSend)[0]
	if beat.ExtFields["Signature"] == "" || !strings.Contains(string(beat.body), `"producerDataSet":[{"groupName":"g"}]`) {
		t.Errorf("heartbeat %v %s", beat.ExtFields, beat.body)
	}
	if sent.ExtFields["Signature"] == "" || sent.ExtFields["sysFlag"] != "4" {
		t.Errorf("sent with %v", sent.ExtFields)
	}
	for _, property := range []string{"TRAN_MSG\x01true", "PGROUP\x01g", "remora-half\x012 order-7", "shop\x01berlin", "TAGS\x01paid", "UNIQ_KEY\x01" + m.ID.String()} {
		if !strings.Contains("\x02"+sent.ExtFields["properties"]+"\x02", "\x02"+property+"\x02") {
			t.Errorf("%q is not among the properties %q", property, sent.ExtFields["properties"])
		}
	}
}

func TestEndOfAHalfMessageIsSigned(t *testing.T) {
	s := serveHalves(t)
	h := s.client(t)
	place := message.HalfPlace{Topic: "orders", Broker: "b", Group: "g", QueueOffset: 12, LogOffset: 1000, MessageID: "M", TransactionID: "TX"}
	for commit, kind := range map[bool]string{true: "8", false: "12"} {
		if err := h.End(t.Context(), place, commit); err != nil {
			t.Fatal(err)
		}
		all := s.requests(reqEndTransaction)
		f := all[len(all)-1].ExtFields
		if f["Signature"] == "" {
			t.Error("it is not signed")
		}
		want := map[string]string{"topic": "orders", "producerGroup": "g", "tranStateTableOffset": "12", "commitLogOffset": "1000",
			"commitOrRollback": kind, "fromTransactionCheck": "true", "msgId": "M", "transactionId": "TX", "bname": "b"}
		for name, value := range want {
			if f[name] != value {
				t.Errorf("commit %t: %s is %q, want %q", commit, name, f[name], value)
			}
		}
	}
}

func TestWhatAnEndIsAnsweredWith(t *testing.T) {
	s := serveHalves(t)
	h := s.client(t)
	for _, c := range []struct {
		answer command
		gone   bool
	}{
		{command{Code: codeSystemError, Remark: "Find prepared transaction message failed"}, true},
		{command{Code: codeSystemError, Remark: "The producer group wrong"}, true},
		{command{Code: codeSystemError, Remark: "[PCBUSY_CLEAN_QUEUE]broker busy"}, false},
		{command{Code: codeSystemError, Remark: "java.lang.NullPointerException"}, false},
		{command{Code: codeFlushDiskTimeout}, false},
		{command{Code: codeNoPermission}, false},
	} {
		s.answer(reqEndTransaction, c.answer)
		err := h.End(t.Context(), message.HalfPlace{Topic: "orders", Broker: "b"}, true)
		if err == nil || errors.Is(err, broker.ErrNoHalf) != c.gone {
			t.Errorf("%+v: %v", c.answer, err)
		}
	}
}

// Without its answer it may be there; where nothing was sent it is not.
func TestWhatAPreparationIsAnsweredWith(t *testing.T) {
	for _, c := range []struct {
		answer  command
		outcome message.Outcome
		stored  bool
	}{
		{command{Code: codeSystemError}, message.OutcomeUnknown, false},
		{command{Code: codeSlaveNotAvailable}, message.OutcomeUnknown, true},
		{command{Code: codeSystemBusy}, message.OutcomeRetryable, false},
		{command{Code: codeMessageIllegal}, message.OutcomePermanent, false},
		{command{ExtFields: map[string]string{"msgId": "7F"}}, message.OutcomeUnknown, true},
	} {
		s := serveHalves(t)
		s.answer(reqSend, c.answer)
		_, err := s.client(t).Prepare(t.Context(), halfMessage(), broker.Half{Transaction: "x", Number: 1})
		se, ok := errors.AsType[*broker.SendError](err)
		if !ok || se.Outcome != c.outcome || se.Stored != c.stored {
			t.Errorf("%+v: %v", c.answer, err)
		}
	}
}

func TestNothingIsSentToABrokerThatRefusesHeartbeats(t *testing.T) {
	s := serveHalves(t)
	s.answer(reqHeartBeat, command{Code: codeNoPermission, Remark: "no rights"})
	h := s.client(t)
	_, err := h.Prepare(t.Context(), halfMessage(), broker.Half{Transaction: "x", Number: 1})
	se, ok := errors.AsType[*broker.SendError](err)
	if !ok || se.Outcome != message.OutcomeRetryable || !strings.Contains(err.Error(), "no rights") {
		t.Errorf("got %v", err)
	}
	if len(s.requests(reqSend)) > 0 {
		t.Error("it was sent all the same")
	}
	if names := h.Unreached(); len(names) != 1 || names[0] != "b" {
		t.Errorf("unreached are %q", names)
	}
	s.answer(reqHeartBeat, command{})
	if _, err := h.Prepare(t.Context(), halfMessage(), broker.Half{Transaction: "x", Number: 1}); err != nil {
		t.Errorf("once it takes them: %v", err)
	}
}

// Half messages of a former group are asked for under that.
func TestFormerGroupIsRegistered(t *testing.T) {
	s := serveHalves(t)
	h := s.client(t)
	h.Expect(message.HalfPlace{Topic: "orders", Broker: "b", Group: "former"})
	if _, err := h.Prepare(t.Context(), halfMessage(), broker.Half{Transaction: "x", Number: 1}); err != nil {
		t.Fatal(err)
	}
	all := s.requests(reqHeartBeat)
	if last := string(all[len(all)-1].body); !strings.Contains(last, `[{"groupName":"former"},{"groupName":"g"}]`) {
		t.Errorf("registered %s", last)
	}
}

// Who may publish and not look is not told of a message whether it is there, which is
// no reason not to commit it.
func TestWhoMayOnlyPublishIsToldNothing(t *testing.T) {
	s := serveHalves(t)
	s.answer(reqQueryMessage, command{Code: codeNoPermission, Remark: "no rights"})
	h, p := s.client(t), message.HalfPlace{Topic: "orders", Broker: "b", MessageID: "M"}
	if done, err := h.Committed(t.Context(), p, time.Now()); done || err != nil {
		t.Errorf("committed %t, %v", done, err)
	}
	if gone, err := h.Dropped(t.Context(), p, broker.Half{Transaction: "x", Number: 1}, time.Now()); gone || !errors.Is(err, broker.ErrMayNotLook) {
		t.Errorf("dropped %t, %v", gone, err)
	}
	s.answer(reqViewMessage, command{Code: codeNoPermission, Remark: "no rights"})
	if there, err := h.There(t.Context(), p); there != (broker.Half{}) || !errors.Is(err, broker.ErrMayNotLook) {
		t.Errorf("there %+v, %v", there, err)
	}
	s.answer(reqViewMessage, command{Code: codeSystemBusy})
	if there, err := h.There(t.Context(), p); there != (broker.Half{}) || err == nil || errors.Is(err, broker.ErrMayNotLook) {
		t.Errorf("there %+v, %v", there, err)
	}
	s.answer(reqQueryMessage, command{Code: codeSystemError})
	if done, err := h.Committed(t.Context(), p, time.Now()); done || err == nil {
		t.Errorf("committed %t, %v", done, err)
	}
}

// Where only the topic is known, each of its brokers is one that may ask; until name
// servers tell which they are, that is told.
func TestBrokersOfATopicAreExpectedToAsk(t *testing.T) {
	s := serveHalves(t)
	s.answer(reqRoute, command{Code: codeSystemError})
	h := s.client(t)
	h.Expect(message.HalfPlace{Topic: "orders"})
	if names := h.Unreached(); len(names) != 1 || !strings.Contains(names[0], "orders") {
		t.Errorf("unreached are %q", names)
	}
	s.mu.Lock()
	delete(s.answers, reqRoute)
	s.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); len(h.Unreached()) > 0 || len(s.requests(reqHeartBeat)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("unreached are %q", h.Unreached())
		}
	}
	h.Expect(message.HalfPlace{Topic: "orders"}) // again
	if names := h.Unreached(); len(names) > 0 {
		t.Errorf("unreached are %q", names)
	}
}
