package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

// deadIn makes a spool.dir with three dead letters, two of cause A on topic a, one
// of cause B on topic b with an ordering key, and one message that waits.
func deadIn(t *testing.T) (dir string, ids []message.ID) {
	t.Helper()
	dir = t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: sidecar.DatabaseDir(dir), Magic: spool.FormatVersion, CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(t.Context(), db, spool.Options{Dir: filepath.Join(dir, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []message.Message{{Topic: "a", Tag: "A"}, {Topic: "a", Tag: "A"}, {Topic: "b", Tag: "B", OrderingKey: "k"}, {Topic: "a"}} {
		m.Body = []byte("body of " + m.Topic)
		receipts, err := s.Append(t.Context(), []spool.Draft{{Message: m}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipts[0].ID)
		if m.Tag == "" {
			continue
		}
		leases, err := s.Lease(t.Context(), m.Topic, spool.LeaseOptions{})
		if err == nil {
			err = s.Bury(t.Context(), leases[0], m.Tag, "the broker says "+m.Tag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

// say runs the program, and returns how it ended and all it said.
func say(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = execute(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// The way of an operator on a directory: look, export, discard one cause, redrive
// the rest.
func TestDeadLettersOfADirectory(t *testing.T) {
	dir, ids := deadIn(t)
	at := func(args ...string) []string { return append(append([]string{"dlq"}, args...), "--dir", dir) }
	for _, step := range []struct {
		args []string
		code int
		says []string
	}{
		{at("list"), 0, []string{ids[0].String(), ids[2].String(), "B: the broker says B"}},
		{at("list", "--by-cause"), 0, []string{"CAUSE", "A  ", "the broker says A", ids[1].String()}},
		{at("list", "--cause", "B", "-o", "jsonl"), 0, []string{`"reason":"B"`}},
		{at("show", ids[0].String(), "--body"), 0, []string{"body of a", "dead"}},
		{at("redrive", "--all", "--dry-run"), 0, []string{"would redrive 3 messages", "1 of them have an ordering key"}},
		{at("redrive", "--all"), exitUsage, []string{"redrive 3 messages", "--yes"}},
		{at("redrive"), exitUsage, []string{"name dead letters"}},
		{at("redrive", "--all", "--topic", "a"), exitUsage, []string{"name dead letters"}},
		{at("redrive", ids[3].String()), exitFailed, []string{"none of 1 message is a dead letter"}},
		{at("export", filepath.Join(dir, "dead"), "--cause", "A"), 0, []string{"2 messages in"}},
		{at("discard", "--cause", "A", "--yes"), 0, []string{"discarded 2 of 2 messages"}},
		{at("redrive", ids[0].String()), exitFailed, []string{"none of 1 message is a dead letter"}},
		{at("redrive", ids[2].String()), 0, []string{"redriven 1 of 1 message", "sent when the sidecar of this directory starts"}},
		{at("list"), 0, []string{"no messages"}},
		{at("redrive", "--all", "--yes"), 0, []string{"no dead letters"}},
		{[]string{"queue", "list", "--state", "pending", "--dir", dir}, 0, []string{ids[2].String(), ids[3].String()}},
		{[]string{"ledger", "--dir", dir}, 0, []string{"balanced"}},
	} {
		code, out, errOut := say(step.args...)
		if code != step.code {
			t.Errorf("%v ended with %d: %s%s", step.args, code, out, errOut)
		}
		for _, want := range step.says {
			if !strings.Contains(out+errOut, want) {
				t.Errorf("%v said %s%s, and not %q", step.args, out, errOut, want)
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "dead"))
	if err != nil || bytes.Count(raw, []byte(`"state":"dead"`)) != 2 {
		t.Errorf("exported %s (%v)", raw, err)
	}
}

// A redrive that stops by itself ends the command with what it did and why.
func TestRedriveThatStopsIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		end  string
		code int
		says string
	}{
		"all died":  {`{"state":"stopped","detail":"they died","changed":5,"dead_by_cause":{"A":5},"chosen":{"messages":9}}`, exitFailed, "redriven 5 of 9 messages: 5 dead again (A)"},
		"some died": {`{"state":"stopped","detail":"they died","changed":5,"confirmed":4,"dead_by_cause":{"A":1},"chosen":{"messages":9}}`, exitPartly, "4 confirmed, 1 dead again (A)"},
		"all went":  {`{"state":"done","changed":9,"confirmed":9,"chosen":{"messages":9}}`, 0, "redriven 9 of 9 messages: 9 confirmed"},
	} {
		t.Run(name, func(t *testing.T) {
			side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var req struct {
					Rate   int  `json:"rate"`
					DryRun bool `json:"dry_run"`
				}
				switch _ = json.NewDecoder(r.Body).Decode(&req); {
				case r.Method == http.MethodGet:
					_, _ = w.Write([]byte(tc.end))
				case req.DryRun:
					_, _ = w.Write([]byte(`{"messages":9}`))
				default:
					if req.Rate != 7 {
						t.Errorf("rate %d", req.Rate)
					}
					w.WriteHeader(http.StatusAccepted)
					_, _ = w.Write([]byte(`{"id":"x","state":"running"}`))
				}
			}))
			defer side.Close()
			code, out, errOut := say("dlq", "redrive", "--all", "--yes", "--rate", "7", "--url", side.URL)
			if code != tc.code || !strings.Contains(out, tc.says) {
				t.Errorf("ended with %d, said %s%s", code, out, errOut)
			}
		})
	}
}

// The dead letters of a group are asked for at the sidecar that runs, by pages, and
// changed there.
func TestDeadLettersOfAGroup(t *testing.T) {
	const one = `{"id":"0A","topic":"orders","cause":"rejected: 422","attempts":3,"died_at":"2026-01-02T03:04:05.678Z","born_at":"2026-01-02T03:04:05.678Z","size":4,"queue":"broker-a/0","offset":7,"broker_message_id":"7F","body_size":4,"body_base64":"Ym9keQ=="}`
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer string
		switch asked := r.Method + " " + r.URL.EscapedPath() + "?" + r.URL.RawQuery; asked {
		case "GET /v1/groups/%25a/dead-letters?group_by=cause":
			answer = `{"items":[{"cause":"rejected: 422","messages":2,"bytes":8,"topics":["orders"],"oldest_died_at":"2026-01-02T03:04:05.678Z","newest_died_at":"2026-01-02T03:04:05.678Z","example":"0A"}]}`
		case "GET /v1/groups/%25a/dead-letters?cause=x&limit=2", "GET /v1/groups/%25a/dead-letters?body=true":
			answer = `{"items":[` + one + `],"next_cursor":"c"}`
		case "GET /v1/groups/%25a/dead-letters?cause=x&cursor=c&limit=2", "GET /v1/groups/%25a/dead-letters?body=true&cursor=c":
			answer = `{"items":[` + one + `]}`
		case "GET /v1/groups/%25a/dead-letters/0A?body=true":
			answer = one
		case "POST /v1/groups/%25a/dead-letters/redrive?", "POST /v1/groups/%25a/dead-letters/discard?":
			var req struct {
				DryRun bool `json:"dry_run"`
			}
			if answer = `{"messages":2}`; json.NewDecoder(r.Body).Decode(&req) == nil && !req.DryRun {
				w.WriteHeader(http.StatusAccepted)
				answer = `{"id":"o","state":"running"}`
			}
		case "GET /v1/operations/o?":
			answer = `{"id":"o","state":"done","changed":2,"confirmed":2,"dead_by_cause":{},"chosen":{"messages":2}}`
		default:
			t.Errorf("asked for %s", asked)
		}
		_, _ = w.Write([]byte(answer))
	}))
	defer side.Close()
	file := filepath.Join(t.TempDir(), "dead")
	for _, step := range []struct {
		args string
		says []string
	}{
		{"list --by-cause", []string{"CAUSE", "rejected: 422  2", "0A"}},
		{"list --cause x --limit 1", []string{"DEAD FOR", "0A  orders", "rejected: 422", "there are more than 1"}},
		{"show 0A --body", []string{"cause", "rejected: 422", "broker-a/0 offset 7, 7F", `"body"`}},
		{"show 0A --raw", []string{"body"}},
		{"export " + file, []string{"2 messages in " + file}},
		{"redrive --cause x --yes", []string{"redriven 2 of 2 messages: 2 confirmed"}},
		{"discard --all --yes", []string{"discarded 2 of 2 messages"}},
	} {
		code, out, errOut := say(append(append([]string{"dlq"}, strings.Fields(step.args)...), "--group", "%a", "--url", side.URL)...)
		for _, want := range step.says {
			if code != 0 || !strings.Contains(out+errOut, want) {
				t.Errorf("%s ended with %d, said %s%s, and not %q", step.args, code, out, errOut, want)
			}
		}
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != one+"\n"+one+"\n" {
		t.Errorf("exported %s (%v)", raw, err)
	}
	dir, _ := deadIn(t)
	for _, args := range []string{"list", "show 0A", "redrive --all", "discard 0A", "export " + file + "2"} {
		code, out, errOut := say(append(append([]string{"dlq"}, strings.Fields(args)...), "--group", "g", "--dir", dir)...)
		if code != exitUsage || !strings.Contains(errOut, "at the broker") {
			t.Errorf("%s of a directory ended with %d, said %s%s", args, code, out, errOut)
		}
	}
}
