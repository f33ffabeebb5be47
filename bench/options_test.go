package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds < 5 || o.size != 1024 || !slices.Equal(o.connections, []int{1, 16, 64, 256}) || o.strict || len(o.others) > 0 {
		t.Errorf("defaults are %+v", o)
	}
	o, err = parseOptions(strings.Fields("-rounds 2 -time 1m -connections 3,4 -strict -peers redis"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 2 || o.measure != time.Minute || !slices.Equal(o.connections, []int{3, 4}) || !o.strict || len(o.others) != 1 {
		t.Errorf("got %+v", o)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	tests := map[string]string{
		"-rounds 0":           "-rounds",
		"-time 0s":            "-time",
		"-warmup -1s":         "-warmup",
		"-size 0":             "-size",
		"-size 2000000":       "-size",
		"-connections 1,zwei": `"zwei"`,
		"-connections 0":      `"0"`,
		"-peers kafka":        `"kafka"`,
		"-peers all,kafka":    `"kafka"`,
		"more":                `"more"`,
	}
	for args, want := range tests {
		if _, err := parseOptions(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a word about %s", args, err, want)
		}
	}
}

func TestPeersComeOnceInTheOrderOfThePage(t *testing.T) {
	tests := map[string]string{
		"":                  "",
		"redis":             "redis",
		"nats,redis,nats":   "redis nats",
		"postgres rabbitmq": "rabbitmq postgresql",
		"all":               "redis rabbitmq postgresql nats",
		"all, redis":        "redis rabbitmq postgresql nats",
	}
	for list, want := range tests {
		peers, err := parsePeers(list, 7)
		var names []string
		for _, p := range peers {
			name, _, _ := strings.Cut(p.Name(), " ")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", list, got, err, want)
		}
	}
}

// TestFolderLetsOtherUsersThrough: a server that does not run as root has a
// folder of its own below it.
func TestFolderLetsOtherUsersThrough(t *testing.T) {
	o := options{dir: filepath.Join(t.TempDir(), "bench")}
	dir, _, err := o.makeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{o.dir, dir} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	if !filepath.IsAbs(dir) {
		t.Errorf("%s is not absolute", dir)
	}
}

func TestMemoryIsNoDisk(t *testing.T) {
	o := options{dir: "/dev/shm/remora-bench-test"}
	if dir, _, err := o.makeDir(); err == nil || !strings.Contains(err.Error(), "-dir") {
		t.Errorf("got %q, %v", dir, err)
	}
}
