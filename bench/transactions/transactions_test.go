package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/report"
)

// TestMain is also the servers that the test starts: they run this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	os.Exit(m.Run())
}

// TestTrialIsPlayedToItsEnd is a whole run in little time: each turn has to answer
// some, only the due ones are asked for, again and again where they are few, and the
// spools are compared with the answers.
func TestTrialIsPlayedToItsEnd(t *testing.T) {
	o, err := parseOptions(strings.Fields("-open 20 -rounds 1 -warmup 0s -time 500ms"))
	if err != nil {
		t.Fatal(err)
	}
	r := &trial{options: o, dir: t.TempDir()}
	if err := r.play(t.Context()); err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if _, err := report.Write(&page, &r.run, r.targets()); err != nil || strings.Contains(page.String(), string(report.Unmeasured)) {
		t.Errorf("%v\n%s", err, page.String())
	}
}

// TestWhatWasNotAnsweredIsFound: the account of a spool is compared with what clients
// were told.
func TestWhatWasNotAnsweredIsFound(t *testing.T) {
	c, err := start(t.Context(), t.TempDir(), plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	if err := c.fill(t.Context(), 3, `{"url":"http://127.0.0.1:1/tx"}`); err != nil {
		t.Fatal(err)
	}
	if err := c.check(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	c.open--
	if err := c.check(t.Context(), time.Second); err == nil {
		t.Error("one transaction more than was answered is open, and nobody sees it")
	}
}

// TestEachFigureIsJudged holds what is asked, by a run that just meets all of it and
// one that misses all.
func TestEachFigureIsJudged(t *testing.T) {
	o := options{open: 5}
	round := func(less float64) report.Round {
		r := report.Round{}
		for _, c := range connections {
			at := func(peer string) report.Key { return report.Key{Peer: peer, Connections: c} }
			r[at(plain)] = report.Sample{Rate: 1000, Cost: &report.Cost{CPU: 1}}
			r[at(decided)] = report.Sample{Rate: 500 - less, Cost: &report.Cost{CPU: 2}}
			r[at(o.opened())], r[at(o.due())] = report.Sample{Rate: 900 - less}, report.Sample{Rate: 900 - less}
		}
		return r
	}
	for _, tt := range []struct {
		less   float64
		pace   pace
		missed int
	}{{0, pace{1, mostInSecond, mostAtOnce}, 0}, {1, pace{1, mostInSecond + 1, mostAtOnce + 1}, 8}} {
		r := &trial{options: o, pace: tt.pace, run: report.Run{Connections: connections, Rounds: []report.Round{round(tt.less)}}}
		var page strings.Builder
		missed, err := report.Write(&page, &r.run, r.targets())
		if err != nil || len(missed) != tt.missed {
			t.Errorf("%d missed, want %d; %v\n%s", len(missed), tt.missed, err, page.String())
		}
	}
}

func TestPaceIsTheMostOfAnySecond(t *testing.T) {
	a, now := &application{}, time.Now()
	for _, ms := range []int{0, 600, 700, 900, 1000, 1599, 3000} {
		a.begin(now.Add(time.Duration(ms) * time.Millisecond))
		a.done()
	}
	a.begin(now.Add(4 * time.Second))
	a.begin(now.Add(5 * time.Second))
	if want := (pace{all: 9, inSecond: 5, atOnce: 2}); a.pace() != want {
		t.Errorf("%+v, want %+v", a.pace(), want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-open 0", "-rounds 0", "-time 0s", "-warmup -1s", "more"} {
		if o, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s: %+v", args, o)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.open != 100_000 || o.rounds < 5 {
		t.Errorf("defaults are %+v, %v", o, err)
	}
}
