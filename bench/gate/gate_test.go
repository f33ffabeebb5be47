package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/kv"
)

// TestMain is also the handler that the tests start: they run this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "handler" {
		main()
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner")) // it sleeps 10 s
}

// TestEachFigureIsJudged holds what is asked, by a run that just meets all of it
// and one that misses all.
func TestEachFigureIsJudged(t *testing.T) {
	o := options{calls: 64, keys: 5}
	at := func(peer string, calls int) report.Key { return report.Key{Peer: peer, Connections: calls} }
	round := func(less float64, late time.Duration) report.Round {
		return report.Round{
			at(bare, 64):          {Rate: 1000, Cost: &report.Cost{CPU: 1}},
			at(plain, 64):         {Rate: 500 - less, Cost: &report.Cost{CPU: 2, Anonymous: 100}},
			at(inLocal, 64):       {Rate: 400 - 2*less, Cost: &report.Cost{CPU: 3}},
			at(redisAlways, 64):   {Rate: 300 - 2*less, Cost: &report.Cost{CPU: 4}},
			at(redisSecond, 64):   {Rate: 300 - 2*less},
			at(o.manyKnown(), 64): {Rate: 320 - 4*less, Cost: &report.Cost{Anonymous: 228 + less}},
			at(bare, 1):           {P50: time.Millisecond},
			at(plain, 1):          {P50: 2*time.Millisecond + late},
			at(inLocal, 1):        {P50: 3 * time.Millisecond},
			at(redisAlways, 1):    {P50: 3 * time.Millisecond},
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

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-messages 9", "-rounds 0", "-calls 0", "-low 0", "-keys -1", "more"} {
		if o, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s: %+v", args, o)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.keys != 10_000_000 || o.rounds < 5 {
		t.Errorf("defaults are %+v, %v", o, err)
	}
}

// TestHandlerHoldsTheClock runs the bare loop against the handler in a process of
// its own.
func TestHandlerHoldsTheClock(t *testing.T) {
	h, err := startHandler()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.end(); err != nil {
			t.Error(err)
		}
	}()
	defer http.DefaultClient.CloseIdleConnections()
	c, err := newCaller(h.url, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	began := time.Now()
	rate, err := h.measure(t.Context(), 50, func(ctx context.Context) error { return c.callAll(ctx, 3, 50) })
	if least := 44 / time.Since(began).Seconds(); err != nil || rate < least {
		t.Errorf("%v calls a second, want at least %v; %v", rate, least, err)
	}
	if _, err := h.measure(t.Context(), 2, func(context.Context) error {
		return c.callAll(t.Context(), 1, 3) // one is delivered twice
	}); err == nil || !strings.Contains(err.Error(), "3 times") {
		t.Errorf("a repeat: %v", err)
	}
	if _, err := h.measure(t.Context(), 2, func(context.Context) error {
		for range 2 {
			if err := c.call([]byte("cut")); err != nil {
				return err
			}
		}
		return nil
	}); err == nil || !strings.Contains(err.Error(), "0 of them") {
		t.Errorf("bodies that are not whole: %v", err)
	}
	if took, err := c.timed(load.NewBodies(bodySize, 0)); err != nil || took <= 0 {
		t.Errorf("a call took %v, %v", took, err)
	}
}

// TestRateLeavesOutTheFirstTenth: what comes before does not move the clock.
func TestRateLeavesOutTheFirstTenth(t *testing.T) {
	c := &counter{}
	c.expect(20)
	for range 20 {
		c.call(bodySize)
	}
	<-c.waitFor()
	if seen := c.seen(); seen.Timed != 17 || seen.Calls != 20 || seen.Took <= 0 {
		t.Errorf("%+v", seen)
	}
}

// TestMoreThanWasPostedEndsTheRun looks at a sidecar that counts two more at each
// look.
func TestMoreThanWasPostedEndsTheRun(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(confirmed + " " + []string{"0", "2", "4", "6"}[n.Add(1)] + "\n"))
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	program := t.TempDir() + "/sidecar"
	text := "#!/bin/sh\ntrap 'exit 0' TERM\necho '{\"msg\":\"ready\"}'\nwhile :; do sleep 0.01; done\n"
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := built.Start(t.Context(), program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.Health = server.Listener.Addr().String()
	if err := awaitMore(t.Context(), s, confirmed, 0, 2); err != nil {
		t.Error(err)
	}
	if err := awaitMore(t.Context(), s, confirmed, 0, 3); err == nil {
		t.Error("4 and 6 messages passed for 3")
	}
	if err := s.End(); err != nil {
		t.Error(err)
	}
}

func TestFilledKeysAreDone(t *testing.T) {
	db, err := kv.Open(t.Context(), kv.Options{Dir: t.TempDir() + "/db"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := local.Open(db, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Fill(t.Context(), known(10_000)); err != nil {
		t.Error(err)
	}
	if marks := store.Stats().Marks; marks != 10_000 {
		t.Errorf("%d marks", marks)
	}
	for k, f := range known(5_000) {
		if m, err := store.Begin(t.Context(), k, f, time.Minute); err != nil || m.Verdict != dedupe.Repeat {
			t.Fatalf("%s: %v, %v, want a repeat", k.Key, m.Verdict, err)
		}
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
