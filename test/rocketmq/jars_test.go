package rocketmq

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestPomNamesTheVersion(t *testing.T) {
	if !strings.Contains(string(pom), "<rocketmq.version>"+Version+"<") {
		t.Errorf("pom.xml is not of version %s", Version)
	}
}

func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, noJava := Jars()
	for name, err := range map[string]error{"java": noJava, "mvn": runMaven(t.TempDir())} {
		if err == nil || !strings.Contains(err.Error(), "apt-get install default-jre-headless maven") ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

func TestFetchHappensOnce(t *testing.T) {
	const callers = 8
	home := t.TempDir()
	var fetches atomic.Int32
	var begun, wg sync.WaitGroup
	begun.Add(callers)
	fetch := func(home string) error {
		fetches.Add(1)
		begun.Wait() // so that all find nothing fetched
		return os.MkdirAll(filepath.Join(home, "lib"), 0o777)
	}
	for range callers {
		wg.Go(func() {
			begun.Done()
			if lib, err := fetchOnce(home, fetch); err != nil || !exists(lib) {
				t.Errorf("folder %s: %v", lib, err)
			}
		})
	}
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
}

func TestFetchIsRepeated(t *testing.T) {
	good := func(string) error { return nil }
	bad := func(string) error { return errors.New("no network") }
	tests := []struct {
		name  string
		spoil func(t *testing.T, home string)
	}{
		{"after a failure", func(t *testing.T, home string) {
			if _, err := fetchOnce(home, bad); err == nil {
				t.Fatal("a failure was swallowed")
			}
		}},
		{"with another pom", func(t *testing.T, home string) {
			must(t, os.WriteFile(filepath.Join(home, "complete"), pom[1:], 0o666))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			home, fetched := t.TempDir(), false
			test.spoil(t, home)
			_, err := fetchOnce(home, func(home string) error { fetched = true; return good(home) })
			if err != nil || !fetched {
				t.Errorf("fetched %v (%v), want true", fetched, err)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
