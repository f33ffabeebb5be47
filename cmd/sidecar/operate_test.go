package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/sidecar"
)

// A command for a directory must not work on that of another sidecar, whatever
// the address says.
func TestAnotherSidecarsSpoolIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: sidecar.DatabaseDir(dir), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	its, asked := "/elsewhere", []string{}
	owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = append(asked, r.URL.Path); r.URL.Path == "/v1/status" {
			_ = json.NewEncoder(w).Encode(sidecar.Status{Spool: &sidecar.SpoolStatus{Dir: its}})
			return
		}
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	defer owner.Close()
	try := func() (code int, said string) {
		var out, errOut bytes.Buffer
		code = execute([]string{"queue", "list", "--dir", dir, "--url", owner.URL}, strings.NewReader(""), &out, &errOut)
		return code, out.String() + errOut.String()
	}
	if code, said := try(); code != sidecar.ExitLocked || !strings.Contains(said, "has another directory") || len(asked) != 1 {
		t.Errorf("ended with %d, asked for %v, said %s", code, asked, said)
	}
	its = dir
	if code, said := try(); code != 0 || !strings.Contains(said, "no messages") {
		t.Errorf("its own sidecar: ended with %d, said %s", code, said)
	}
}

func TestAgesAndSizesAreReadable(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 90 * time.Minute: "1h30m", 47 * time.Hour: "47h0m", 72 * time.Hour: "3d",
	} {
		if got := age(time.Now().Add(-d)); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := printable("a\x1b[31mb\n"); got != "a?[31mb?" {
		t.Errorf("printable: %q", got)
	}
	for d, want := range map[time.Duration]string{0: "1m", time.Minute: "5m", 59 * time.Second: "1m", 8 * 24 * time.Hour: "7d+"} {
		if got := column(d); got != want {
			t.Errorf("column of %s: %s, want %s", d, got, want)
		}
	}
}

// A file that is cut on its way never appears, and what was written is removed.
func TestAnExportThatIsCutDoesNotAppear(t *testing.T) {
	cut := `{"remora_export":1,"spool":"0000000000","created_at":"2026-01-02T03:04:05Z"}` + "\n"
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(cut)) }))
	defer side.Close()
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	code := execute([]string{"spool", "export", filepath.Join(dir, "x"), "--url", side.URL}, strings.NewReader(""), &out, &errOut)
	if code != exitFailed || !strings.Contains(errOut.String(), "the trailer is missing") {
		t.Errorf("ended with %d, said %s%s", code, out.String(), errOut.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// The body of an answer within the process ends where its handler breaks off.
func TestLocalAnswersEndWithTheirHandler(t *testing.T) {
	c := newLocalClient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("some"))
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
	}))
	for path, want := range map[string]error{"/whole": nil, "/abort": io.ErrUnexpectedEOF} {
		if r, err := c.do(t.Context(), http.MethodGet, path, nil, nil); !errors.Is(err, want) || string(r.body) != "some" {
			t.Errorf("%s: %q, %v", path, r.body, err)
		}
	}
}
