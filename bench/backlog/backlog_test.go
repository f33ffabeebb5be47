package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/spool"
)

// TestMain is also the servers that the test starts: they run this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	os.Exit(m.Run())
}

// TestOutageIsPlayedToItsEnd is a whole run in little time.
func TestOutageIsPlayedToItsEnd(t *testing.T) {
	o, err := parseOptions(strings.Fields("-messages 500 -connections 4 -rounds 1 -time 100ms -settle 10ms -step 300ms"))
	if err != nil {
		t.Fatal(err)
	}
	r := &outage{options: o, dir: t.TempDir()}
	defer r.end()
	if err := r.play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.waiting < 500 || r.passed < 1000 || len(r.heads) != 1 || r.heads[0] <= 0 || len(r.run.Rounds) != 1 {
		t.Errorf("%+v", r.seen)
	}
	for name, v := range map[string]float64{
		"memFull": r.memFull, "memAfter": r.memAfter, "memLoaded": r.memLoaded, "diskFull": r.diskFull, "memOpened": r.memOpened, "diskAll": r.diskAll, "drained": r.drained,
		"killed": r.killed.Seconds(), "stopped": r.stopped.Seconds(),
	} {
		if v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

// TestEachFigureIsJudged holds what is asked, by a run that misses all of it and
// one that meets all.
func TestEachFigureIsJudged(t *testing.T) {
	bad := seen{
		fresh: fresh{41, 0.21}, memFull: 161, killed: 3001 * time.Millisecond, stopped: 1001 * time.Millisecond,
		memAfter: 65, diskLeft: 129, memLoaded: 65, heads: []time.Duration{1001 * time.Microsecond},
	}
	good := seen{
		fresh: fresh{40, 0.2}, memFull: 160, killed: 3 * time.Second, stopped: time.Second,
		memAfter: 64, diskLeft: 128, memLoaded: 64, heads: []time.Duration{time.Millisecond},
	}
	for _, tt := range []struct {
		seen
		ratio  float64
		missed int
	}{{bad, 0.89, 10}, {good, 0.9, 0}} {
		r := &outage{options: options{connections: 64, sidecar: "bin/sidecar"}, seen: tt.seen}
		r.run.Rounds = []report.Round{{
			{Peer: fullSpool, Connections: 64}: {Rate: tt.ratio}, {Peer: nearlyEmpty, Connections: 64}: {Rate: 1},
		}}
		var page strings.Builder
		missed, err := report.Write(&page, &r.run, r.targets())
		if err != nil || len(missed) != tt.missed || strings.Contains(page.String(), string(report.Unmeasured)) {
			t.Errorf("%d missed, want %d; %v\n%s", len(missed), tt.missed, err, page.String())
		}
	}
}

func TestDiskBeyondWhatIsKept(t *testing.T) {
	var d disk
	d.add("db/000001.sst", 5, 100*mebibyte)
	d.add("db/00002.mem", 5, 30*mebibyte)
	d.add("db/00003.mem", 0, 20*mebibyte)
	if d.all != 150*mebibyte || d.prepared != 20*mebibyte {
		t.Errorf("%+v", d)
	}
	tests := []struct {
		known spool.Known
		want  float64
	}{
		{spool.Known{}, 130},
		{spool.Known{Receipts: 1 << 17, ReceiptsMax: 1 << 20, DedupeBytes: 4 * mebibyte, DedupeMaxBytes: 64 * mebibyte}, 110},
		{spool.Known{Receipts: 1 << 20, ReceiptsMax: 1 << 17, DedupeBytes: 64 * mebibyte, DedupeMaxBytes: 4 * mebibyte}, 110},
	}
	for _, tt := range tests {
		if got := d.beyond(tt.known); got != tt.want {
			t.Errorf("%+v: %v MiB, want %v", tt.known, got, tt.want)
		}
	}
}

func TestDiskIsReadInBlocks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "a"), 1<<30); err != nil {
		t.Fatal(err)
	}
	d, err := readDisk(dir)
	if err != nil || d.all < 1<<20 || d.all > 3<<20 {
		t.Errorf("%+v, %v: a hole takes no blocks", d, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-messages 0", "-connections 0", "-rounds 0", "-time 0s", "-idle 0s", "-step 0s", "more"} {
		if o, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s: %+v", args, o)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.messages != 5_000_000 || o.settle != time.Minute || o.rounds < 5 {
		t.Errorf("defaults are %s, %v", fmt.Sprintf("%+v", o), err)
	}
}
