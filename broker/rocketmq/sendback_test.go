package rocketmq

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
)

func TestDelayLevel(t *testing.T) {
	for _, c := range []struct {
		back broker.SendBack
		want int
	}{
		{broker.SendBack{}, 1}, {broker.SendBack{Delay: time.Second}, 1}, {broker.SendBack{Delay: 1001 * time.Millisecond}, 2},
		{broker.SendBack{Delay: 10 * time.Second}, 3}, {broker.SendBack{Delay: 61 * time.Second}, 6},
		{broker.SendBack{Delay: 2 * time.Hour}, 18}, {broker.SendBack{Delay: 48 * time.Hour}, 18},
		{broker.SendBack{Delay: time.Hour, DeadLetter: true}, -1}, {broker.SendBack{DeadLetter: true}, -1},
	} {
		if got := delayLevel(c.back); got != c.want {
			t.Errorf("%+v: level %d, want %d", c.back, got, c.want)
		}
	}
}

// sendBackServer is name server and broker in one.
type sendBackServer struct {
	*fakeServer
	answer      command // to a send-back
	silent      bool
	retryQueues int
	groupAnswer int
}

func serveSendBack(t *testing.T) *sendBackServer {
	s := &sendBackServer{retryQueues: 1}
	s.fakeServer = serve(t, func(c command) *command {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch c.Code {
		case reqRoute:
			body, _ := json.Marshal(map[string]any{
				"brokerDatas": []any{map[string]any{"brokerName": "b", "brokerAddrs": map[string]string{"0": s.addr}}}})
			return &command{body: body}
		case reqGroupConfig:
			return &command{Code: s.groupAnswer, body: fmt.Appendf(nil, `{"retryQueueNums":%d}`, s.retryQueues)}
		case reqAllGroupConfigs:
			return &command{body: fmt.Appendf(nil, `{"subscriptionGroupTable":{"g":{"retryQueueNums":%d}}}`, s.retryQueues)}
		}
		if s.silent {
			return nil
		}
		a := s.answer
		return &a
	})
	return s
}

func (s *sendBackServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *sendBackServer) sendBacks() (all []command) {
	calls, _ := s.seen()
	for _, c := range calls {
		if c.Code == reqSendBack {
			all = append(all, c)
		}
	}
	return all
}

func (s *sendBackServer) client(t *testing.T) (*sendBacks, *time.Time) {
	now := time.Now()
	r := newRemoting(nil)
	t.Cleanup(r.close)
	b := newSendBacks("g", r, newNameServers([]string{s.addr}, r))
	b.now = func() time.Time { return now }
	b.groups.now = b.now
	return b, &now
}

func TestSendBackRequest(t *testing.T) {
	s := serveSendBack(t)
	b, _ := s.client(t)
	if err := b.send(t.Context(), origin{"b", "", 4711, "MSG"}, "orders", broker.SendBack{Delay: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	c := s.sendBacks()[0]
	want := map[string]string{"group": "g", "offset": "4711", "delayLevel": "2", "originMsgId": "MSG", "originTopic": "orders",
		"unitMode": "false", "maxReconsumeTimes": "2147483647"}
	for name, value := range want {
		if c.ExtFields[name] != value {
			t.Errorf("%s is %q, want %q", name, c.ExtFields[name], value)
		}
	}
	if c.Version < 317 {
		t.Errorf("version %d: a broker ignores maxReconsumeTimes", c.Version)
	}
}

// Each try that fails may leave a copy: so one a minute for a message, and for
// the broker when it cannot be told that none was left.
func TestFailedSendBacksAreSpaced(t *testing.T) {
	for _, c := range []struct {
		name         string
		answer       command
		sparesBroker bool // another message must wait too
	}{
		{"stored, status unclear", command{Code: codeSystemError, Remark: "FLUSH_SLAVE_TIMEOUT"}, true},
		{"unheard-of code", command{Code: 4000}, true},
		{"read only", command{Code: codeNoPermission}, false},
		{"message gone", command{Code: codeSystemError, Remark: "look message by offset failed, 4711"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveSendBack(t)
			b, now := s.client(t)
			s.set(func() { s.answer = c.answer })
			first, second := origin{broker: "b", offset: 1}, origin{broker: "b", offset: 2}
			try := func(o origin) error { return b.send(t.Context(), o, "t", broker.SendBack{}) }
			if err := try(first); !errors.As(err, new(*responseError)) {
				t.Fatalf("first try: %v", err)
			}
			*now = now.Add(sendBackPause - time.Second)
			if err := try(first); !errors.Is(err, broker.ErrNotAsked) || len(s.sendBacks()) != 1 {
				t.Fatalf("within a minute: %v, %d calls", err, len(s.sendBacks()))
			}
			s.set(func() { s.answer = command{} })
			if err := try(second); c.sparesBroker != errors.Is(err, broker.ErrNotAsked) || !c.sparesBroker && err != nil {
				t.Errorf("another message: %v", err)
			}
			*now = now.Add(2 * time.Second)
			if err := try(first); err != nil {
				t.Errorf("after a minute: %v", err)
			}
			if err := try(second); err != nil {
				t.Errorf("another message after a success: %v", err)
			}
		})
	}
}

// A broker that had no time has no copy: a second later it is asked again, and for
// other messages at once.
func TestBusyBrokerIsAskedAgainSoon(t *testing.T) {
	for _, code := range []int{codeSystemBusy, codeFlowControl} {
		s := serveSendBack(t)
		b, now := s.client(t)
		s.set(func() { s.answer = command{Code: code, Remark: "[TIMEOUT_CLEAN_QUEUE]broker busy"} })
		first, second := origin{broker: "b", offset: 1}, origin{broker: "b", offset: 2}
		try := func(o origin) error { return b.send(t.Context(), o, "t", broker.SendBack{}) }
		if err := try(first); !errors.Is(err, broker.ErrBusy) {
			t.Fatalf("code %d: %v", code, err)
		}
		s.set(func() { s.answer = command{} })
		if err := try(first); err == nil || errors.Is(err, broker.ErrBusy) || len(s.sendBacks()) != 1 {
			t.Errorf("code %d, at once: %v, %d calls", code, err, len(s.sendBacks()))
		}
		if err := try(second); err != nil {
			t.Errorf("code %d, another message: %v", code, err)
		}
		*now = now.Add(busyPause)
		if err := try(first); err != nil {
			t.Errorf("code %d, a second later: %v", code, err)
		}
	}
}

// A broker that is away is asked again as soon as the caller likes.
func TestUnreachableBrokerIsNotSpaced(t *testing.T) {
	s := serveSendBack(t)
	b, _ := s.client(t)
	good := s.addr
	o := origin{broker: "b", offset: 1}
	s.set(func() { s.addr = "127.0.0.1:1" }) // where the route leads
	if err := b.send(t.Context(), o, "t", broker.SendBack{}); !certainlyNotSent(err) {
		t.Fatalf("got %v", err)
	}
	s.set(func() { s.addr = good })
	if err := b.send(t.Context(), o, "t", broker.SendBack{}); err != nil {
		t.Error(err)
	}
}

// The broker confirms, and drops, what a group without retry queues sends back.
func TestGroupWithoutRetryQueues(t *testing.T) {
	for _, old := range []bool{false, true} {
		s := serveSendBack(t)
		s.set(func() {
			s.retryQueues = 0
			if old {
				s.groupAnswer = codeNotSupported
			}
		})
		b, _ := s.client(t)
		err := b.send(t.Context(), origin{broker: "b"}, "t", broker.SendBack{})
		if !errors.Is(err, errNoRetryQueues) || len(s.sendBacks()) != 0 {
			t.Errorf("old broker %t: %v, %d calls", old, err, len(s.sendBacks()))
		}
	}
}

func TestUnreadableGroupConfig(t *testing.T) {
	for code, ok := range map[int]bool{codeNoPermission: true, codeGroupNotExist: true, codeSystemError: false} {
		s := serveSendBack(t)
		s.set(func() { s.groupAnswer = code })
		b, _ := s.client(t)
		if err := b.send(t.Context(), origin{broker: "b"}, "t", broker.SendBack{}); ok != (err == nil) {
			t.Errorf("code %d: %v", code, err)
		}
	}
}

func TestStoreHostStandsInForNameServers(t *testing.T) {
	s := serveSendBack(t)
	b, _ := s.client(t)
	b.names.addrs = []string{"127.0.0.1:1"}
	if err := b.send(t.Context(), origin{broker: "b", storeHost: s.addr}, "t", broker.SendBack{}); err != nil {
		t.Errorf("without name server: %v", err)
	}
	b.names.addrs = []string{s.addr}
	if err := b.send(t.Context(), origin{broker: "gone", storeHost: s.addr}, "t", broker.SendBack{}); err == nil {
		t.Error("a broker without master took it")
	}
}
