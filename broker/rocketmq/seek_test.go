package rocketmq

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
)

// placed are two brokers, either a name server too, with queues a/0, b/0 and b/1 of a
// topic. What they tell may be changed before a call.
type placed struct {
	t *testing.T

	mu       sync.Mutex
	addrs    map[string]string // by broker
	away     string            // the broker that has no master
	members  []string          // of the group
	progress map[string]int64  // by queue
	fails    map[int]int       // request → code of its answer
	at       int64             // the answer to a search by time
	times    []string          // that were asked for
	forgets  bool              // they confirm an update, and have what they had
	joins    []string          // are members as soon as a place is set
	updated  []string          // queue and offset
}

const firstPlace, endPlace = 100, 200

func servePlaces(t *testing.T) *placed {
	t.Helper()
	p := &placed{t: t, addrs: map[string]string{}, progress: map[string]int64{}, fails: map[int]int{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range []string{"a", "b"} {
		p.addrs[name] = serve(t, func(c command) *command {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.answer(c, name+"/"+c.ExtFields[fieldQueue])
		}).addr
	}
	return p
}

func (p *placed) answer(c command, queue string) *command {
	if code, fails := p.fails[c.Code]; fails {
		return &command{Code: code}
	}
	offset := func(n int64) *command {
		return &command{ExtFields: map[string]string{"offset": strconv.FormatInt(n, 10)}}
	}
	switch c.Code {
	case reqRoute:
		return &command{body: p.route()}
	case reqGroupMembers:
		if len(p.members) == 0 {
			return &command{Code: codeSystemError, Remark: "no consumer for this group, g"}
		}
		body, _ := json.Marshal(map[string]any{"consumerIdList": p.members})
		return &command{body: body}
	case reqQueryConsumerOffset:
		if next, known := p.progress[queue]; known {
			return offset(next)
		}
		if c.ExtFields["setZeroIfNotFound"] != "false" {
			return offset(0)
		}
		return &command{Code: codeQueryNotFound}
	case reqUpdateConsumerOffset:
		p.updated, p.members = append(p.updated, queue+"="+c.ExtFields["commitOffset"]), p.joins
		if !p.forgets {
			p.progress[queue], _ = strconv.ParseInt(c.ExtFields["commitOffset"], 10, 64)
		}
	case reqMinOffset:
		return offset(firstPlace)
	case reqMaxOffset:
		return offset(endPlace)
	case reqSearchOffset:
		p.times = append(p.times, c.ExtFields["timestamp"])
		return offset(p.at)
	}
	return &command{}
}

func (p *placed) route() []byte {
	var brokers, queues []any
	for i, name := range []string{"a", "b"} {
		id := "0"
		if name == p.away {
			id = "1"
		}
		brokers = append(brokers, map[string]any{"brokerName": name, "brokerAddrs": map[string]string{id: p.addrs[name]}})
		queues = append(queues, map[string]any{"brokerName": name, "readQueueNums": i + 1, "writeQueueNums": i + 1, "perm": 6})
	}
	body, _ := json.Marshal(map[string]any{"brokerDatas": brokers, "queueDatas": queues})
	return body
}

func (p *placed) consumer(from broker.From) *Consumer {
	p.t.Helper()
	c, err := NewConsumer(ConsumerOptions{NameServers: []string{p.addrs["a"]}, Instance: "i"},
		broker.Subscription{Name: "s", Topic: "t", Group: "g", Concurrency: 1, From: from}, testLog(p.t))
	must(p.t, err)
	p.t.Cleanup(c.remoting.close)
	return c
}

func (p *placed) isUpdated(want ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.updated, want) {
		p.t.Errorf("was set to %v, want %v", p.updated, want)
	}
}

var errAny = errors.New("any")

func TestSeek(t *testing.T) {
	all := []broker.Seek{{Queue: "a/0", To: 140}, {Queue: "b/0", To: 150}, {Queue: "b/1", To: 160}}
	for name, tt := range map[string]struct {
		given  func(p *placed)
		to     []broker.Seek
		set    []string
		failed error // that it is; errAny: one at all
	}{
		"each queue":             {nil, all, []string{"a/0=140", "b/0=150", "b/1=160"}, nil},
		"one queue":              {nil, all[2:], []string{"b/1=160"}, nil},
		"to the first offset":    {nil, []broker.Seek{{Queue: "b/0"}}, []string{"b/0=0"}, nil},
		"another has a member":   {func(p *placed) { p.members = []string{"10.0.0.2@other-consumer-1"} }, all, nil, broker.ErrMembers},
		"this process has one":   {func(p *placed) { p.members = []string{"10.0.0.1@i-consumer-1"} }, all, nil, broker.ErrMembers},
		"members are not told":   {func(p *placed) { p.fails[reqGroupMembers] = codeSystemError }, all, nil, errAny},
		"a broker has no master": {func(p *placed) { p.away = "b" }, all, nil, errAny},
		"it is not taken":        {func(p *placed) { p.fails[reqUpdateConsumerOffset] = codeSystemError }, all, nil, errAny},
		"it is not kept":         {func(p *placed) { p.forgets = true }, all, []string{"a/0=140"}, errAny},
		"it is kept otherwise": {func(p *placed) {
			p.forgets, p.progress["a/0"] = true, 100
		}, all, []string{"a/0=140"}, errAny},
		"it is kept further on": {func(p *placed) {
			p.forgets, p.progress["a/0"] = true, 190
		}, all, []string{"a/0=140"}, errAny},
		"another joins meanwhile": {func(p *placed) { p.joins = []string{"10.0.0.2@other-consumer-1"} },
			all, []string{"a/0=140", "b/0=150", "b/1=160"}, errAny},
		"a queue is not there": {nil, append(slices.Clone(all), broker.Seek{Queue: "c/0", To: 1}), nil, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			p := servePlaces(t)
			if tt.given != nil {
				tt.given(p)
			}
			err := p.consumer(broker.From{}).Seek(t.Context(), tt.to)
			if tt.failed == nil && err != nil || tt.failed != nil && err == nil || errors.Is(err, broker.ErrMembers) != errors.Is(tt.failed, broker.ErrMembers) {
				t.Errorf("got %v", err)
			}
			p.isUpdated(tt.set...)
		})
	}
}

// TestMembersOfOthers: those of this process are known by their names, and those of
// which the names begin alike are not.
func TestMembersOfOthers(t *testing.T) {
	p := servePlaces(t)
	p.members = []string{"10.0.0.1@i-consumer-1", "10.0.0.1@i-consumer-12@unit", "10.0.0.1@i", "10.0.0.1@i2-consumer-1", "i-consumer-1", "10.0.0.2@x@i-consumer-3"}
	got, err := p.consumer(broker.From{}).Members(t.Context())
	want := []string{"10.0.0.1@i", "10.0.0.1@i2-consumer-1", "10.0.0.2@x@i-consumer-3", "i-consumer-1"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPlaces(t *testing.T) {
	at := time.UnixMilli(1_764_000_000_123)
	p := servePlaces(t)
	p.progress["b/1"], p.at = 150, 170
	look := func() []broker.Place {
		t.Helper()
		all, err := p.consumer(broker.From{}).Places(t.Context(), at)
		must(t, err)
		return all
	}
	want := []broker.Place{
		{Queue: "a/0", First: firstPlace, Next: -1, At: 170, End: endPlace},
		{Queue: "b/0", First: firstPlace, Next: -1, At: 170, End: endPlace},
		{Queue: "b/1", First: firstPlace, Next: 150, At: 170, End: endPlace},
	}
	if got := look(); !slices.Equal(got, want) || p.times[0] != "1764000000123" {
		t.Errorf("got %+v, for times %v", got, p.times)
	}
	for answered, want := range map[int64]int64{0: firstPlace, firstPlace - 1: firstPlace, endPlace: endPlace, endPlace + 1: endPlace} {
		p.at = answered
		if got := look(); got[0].At != want {
			t.Errorf("a broker that answers %d: %+v", answered, got[0])
		}
	}
	for _, request := range []int{reqQueryConsumerOffset, reqMinOffset, reqMaxOffset, reqSearchOffset} {
		p.fails = map[int]int{request: codeSystemError}
		if got, err := p.consumer(broker.From{}).Places(t.Context(), at); err == nil {
			t.Errorf("request %d is refused: %+v", request, got)
		}
	}
}

// TestStart: what a new group is to begin with is set for the queues in which it has no
// place, and what is told of it was so before. Another try tells the same.
func TestStart(t *testing.T) {
	for name, tt := range map[string]struct {
		from     broker.From
		progress map[string]int64
		set      []string
		told     broker.Start
	}{
		"at the first message": {broker.From{}, nil, nil, broker.Start{New: true, Waiting: 300, Old: 210}},
		"at the end":           {broker.From{Latest: true}, nil, []string{"a/0=200", "b/0=200", "b/1=200"}, broker.Start{New: true, Skipped: 300}},
		"at a time":            {broker.From{Time: time.UnixMilli(9)}, nil, []string{"a/0=170", "b/0=170", "b/1=170"}, broker.Start{New: true, Skipped: 210, Waiting: 90}},
		"where it was in one":  {broker.From{Latest: true}, map[string]int64{"b/0": 150}, []string{"a/0=200", "b/1=200"}, broker.Start{Skipped: 200, Waiting: 50, Old: 20}},
		"where it was in all":  {broker.From{Time: time.UnixMilli(9)}, map[string]int64{"a/0": 0, "b/0": 200, "b/1": 190}, nil, broker.Start{Waiting: 110, Old: 70}},
	} {
		t.Run(name, func(t *testing.T) {
			p := servePlaces(t)
			p.at = 170
			maps.Copy(p.progress, tt.progress)
			c := p.consumer(tt.from)
			c.sub.Starts = func(broker.Start) {}
			for range 2 {
				must(t, c.prepare(t.Context()))
			}
			p.isUpdated(tt.set...)
			got := *c.start
			if got.OldAt = (time.Time{}); got != tt.told {
				t.Errorf("told %+v, want %+v", got, tt.told)
			}
		})
	}
}
