package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/report"
)

// TestEachFigureIsJudged holds what is asked, by a run that just meets all of it
// and one that misses all.
func TestEachFigureIsJudged(t *testing.T) {
	o := options{attempts: 32, connections: 64}
	at := func(peer string, connections int) report.Key { return report.Key{Peer: peer, Connections: connections} }
	round := func(little float64, late time.Duration) report.Round {
		return report.Round{
			at(batches, 32):      {Rate: 1000},
			at(dressed, 32):      {Rate: 950},
			at(singles, 32):      {Rate: 180},
			at(drainsOne, 32):    {Rate: 900 - little},
			at(drainsMany, 32):   {Rate: 720 - 2*little},
			at(drainsBeside, 32): {Rate: 630 - 2*little},
			at(accepts, 64):      {Rate: 1, Cost: &report.Cost{CPU: 1}},
			at(forwards, 64):     {Rate: 1, Cost: &report.Cost{CPU: 2 + little}},
			at(singles, 1):       {P50: 2 * time.Millisecond},
			at(confirmed, 1):     {P50: 4*time.Millisecond + late},
			at(waits, 1):         {P50: 5*time.Millisecond + 3*late},
		}
	}
	for name, tt := range map[string]struct {
		round  report.Round
		missed int
	}{"met": {round(0, 0), 0}, "missed": {round(1, time.Microsecond), 7}} {
		run := report.Run{Rounds: []report.Round{tt.round}}
		var page strings.Builder
		missed, err := report.Write(&page, &run, o.targets())
		if err != nil || len(missed) != tt.missed || strings.Contains(page.String(), string(report.Unmeasured)) {
			t.Errorf("%s: %d missed, want %d; %v\n%s", name, len(missed), tt.missed, err, page.String())
		}
	}
}

// TestWhatIsNotMeasuredIsNotMet: a run without a figure says so.
func TestWhatIsNotMeasuredIsNotMet(t *testing.T) {
	o := options{attempts: 1, connections: 1}
	run := report.Run{Rounds: []report.Round{{}}}
	var page strings.Builder
	if _, err := report.Write(&page, &run, o.targets()); err != nil || strings.Count(page.String(), string(report.Unmeasured)) != 8 {
		t.Errorf("%v\n%s", err, page.String())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{
		"-messages 0", "-rounds 0", "-connections 0", "-attempts 0", "-topics -1", "-keys -1", "-low 0", "-flush SOMETIMES", "more",
	} {
		if o, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s: %+v", args, o)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.messages != 1_000_000 || o.topics != 1000 || o.keys != 100_000 || o.rounds < 5 {
		t.Errorf("defaults are %+v, %v", o, err)
	}
}

func TestShortRunHasFewerTopics(t *testing.T) {
	for args, want := range map[string][2]int{
		"-messages 20000": {20, 2000}, "-messages 5": {1, 1}, "-messages 20000 -topics 7 -keys 9": {7, 9},
	} {
		if o, err := parseOptions(strings.Fields(args)); err != nil || o.topics != want[0] || o.keys != want[1] {
			t.Errorf("%s: %d topics, %d keys; %v", args, o.topics, o.keys, err)
		}
	}
}

func TestWorkloads(t *testing.T) {
	count := func(l workload) (topics, keys map[string]int) {
		topics, keys = map[string]int{}, map[string]int{}
		for i := range l.messages {
			topic, key := l.at(i)
			topics[topic]++
			keys[topic+"/"+key]++
		}
		return topics, keys
	}
	one, _ := count(loadOfOne(10))
	if !maps.Equal(one, map[string]int{oneTopic: 10}) {
		t.Errorf("one topic: %v", one)
	}
	many := loadOfMany(1000, 10, 100)
	topics, keys := count(many)
	if len(topics) != 10 || len(keys) != 100 || topics[manyTopic(3)] != 100 {
		t.Errorf("many topics: %v, %d keys", topics, len(keys))
	}
	beside := besideStuck(many)
	withStuck, _ := count(beside)
	if beside.sendable != 1000 || withStuck[stuckTopic] != 1500 {
		t.Errorf("%d to be sent, %d stuck", beside.sendable, withStuck[stuckTopic])
	}
	delete(withStuck, stuckTopic)
	if !maps.Equal(withStuck, topics) {
		t.Errorf("beside a stuck topic: %v, want %v", withStuck, topics)
	}
}

func TestPostSendsEachOnce(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got[fmt.Sprintf("%s %s %d", r.URL.Path, r.Header.Get("Mq-Ordering-Key"), len(body))]++
		mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	rate, err := post(t.Context(), server.Listener.Addr().String(), 3, loadOfMany(8, 2, 4))
	want := map[string]int{}
	for i := range 4 {
		want[fmt.Sprintf("/v1/topics/bench-%d/messages key-%d 1024", i%2, i)] = 2
	}
	if err != nil || rate <= 0 || !maps.Equal(got, want) {
		t.Errorf("%v, %v; got %v, want %v", rate, err, got, want)
	}
}

func TestRefusalEndsTheRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "spool-full", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	if _, err := post(t.Context(), server.Listener.Addr().String(), 2, loadOfOne(10)); err == nil || !strings.Contains(err.Error(), "spool-full") {
		t.Errorf("got %v", err)
	}
}

// page is the metrics of a sidecar that confirms so many more at each look.
func page(t *testing.T, each int64, seconds float64) *built.Sidecar {
	t.Helper()
	var looks atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := looks.Add(1) - 1
		fmt.Fprintf(w, "%s %d\n%s %g\n", confirmations, n*each, confirmTime, float64(n)*seconds)
	}))
	t.Cleanup(server.Close)
	return &built.Sidecar{Addresses: built.Addresses{Health: server.Listener.Addr().String()}}
}

// TestRateIsOfWhatIsConfirmedMeanwhile looks at a sidecar that has confirmed
// nothing, then 500 more at each look.
func TestRateIsOfWhatIsConfirmedMeanwhile(t *testing.T) {
	program := filepath.Join(t.TempDir(), "sidecar")
	text := "#!/bin/sh\ntrap 'exit 0' TERM\necho '{\"msg\":\"ready\"}'\nwhile :; do sleep 0.01; done\n"
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := built.Start(t.Context(), program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.Addresses = page(t, 500, 0).Addresses
	began := time.Now()
	rate, err := awaitConfirmed(t.Context(), s, 1200)
	if least := 1500 / time.Since(began).Seconds(); err != nil || rate < least {
		t.Errorf("%v a second, want at least %v; %v", rate, least, err)
	}
	if err := s.End(); err != nil {
		t.Error(err)
	}
	s.Health = page(t, 0, 0).Health
	if rate, err := awaitConfirmed(t.Context(), s, 1); err == nil {
		t.Errorf("%v a second, of a sidecar that has ended", rate)
	}
}

func TestLookingGetsCloserToTheEnd(t *testing.T) {
	for _, tt := range []struct {
		passed     time.Duration
		done, left float64
		want       time.Duration
	}{
		{time.Second, 0, 100, 10 * time.Millisecond},
		{time.Second, 100, 100, 250 * time.Millisecond},
		{time.Second, 100, 1, 10 * time.Millisecond},
		{time.Second, 1, 1000, time.Second},
	} {
		if got := nextLook(tt.passed, tt.done, tt.left); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestTimeToConfirmation adds the exact time to when the receipt says that the
// message was accepted.
func TestTimeToConfirmation(t *testing.T) {
	accepted := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"accepted_at":%q}`, accepted.Format(time.RFC3339Nano))
	}))
	defer door.Close()
	p, err := peer.DialServer(t.Context(), door.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	began := time.Now()
	took, err := toConfirmation(t.Context(), page(t, 1, 60), p, load.NewBodies(bodySize, 0))
	want := accepted.Add(time.Minute).Sub(began)
	if err != nil || took > want || took < want-10*time.Second {
		t.Errorf("got %v, want %v; %v", took, want, err)
	}
}
