package admin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
)

// send makes a request with a body.
func send(t *testing.T, addr, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, req)
}

func TestExportAndImport(t *testing.T) {
	addr, s, ids := serveSpool(t, Options{Tokens: []string{"t"}})
	token := []string{"Authorization", "Bearer t"}
	if got := get(t, "GET", addr, "/v1/export").code(); got != "401 unauthorized false" {
		t.Errorf("export without the token: %s", got)
	}
	if got := get(t, "GET", addr, "/v1/export?tpic=a", token...).code(); got != "400 invalid-option false" {
		t.Errorf("an unknown filter: %s", got)
	}
	got := get(t, "GET", addr, "/v1/export?topic=a", token...)
	if got.status != 200 || got.header.Get("Content-Type") != "application/x-ndjson" || strings.Count(got.body, "\n") != 4 || !strings.Contains(got.body, ids[2].String()) {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	other, into, _ := serveSpool(t, Options{Tokens: []string{"t"}})
	if got := send(t, other, "/v1/import", got.body).code(); got != "401 unauthorized false" {
		t.Errorf("import without the token: %s", got)
	}
	damaged := strings.Replace(got.body, "body", "bady", 1)
	if got := send(t, other, "/v1/import", damaged, token...); got.code() != "400 invalid-batch false" || !strings.Contains(got.body, "line 2") || !strings.Contains(got.body, "--partial") {
		t.Errorf("a damaged file: %s", got.body)
	}
	if got := send(t, other, "/v1/import", `{"remora_export":99}`+"\n", token...); got.code() != "400 invalid-batch false" || strings.Contains(got.body, "--partial") {
		t.Errorf("a file of which nothing can be read: %s", got.body)
	}
	if got := send(t, other, "/v1/import?partial=true", damaged, token...); got.body != `{"imported":1,"known":0,"idempotency_keys":0,"key_conflicts":0,"refused":2}`+"\n" {
		t.Errorf("in parts: %s", got.body)
	}
	if got := send(t, other, "/v1/import", got.body, token...); got.body != `{"imported":1,"known":1,"idempotency_keys":0,"key_conflicts":0,"refused":0}`+"\n" {
		t.Errorf("the whole: %s", got.body)
	}
	for _, id := range []message.ID{ids[0], ids[2]} {
		theirs, err := s.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if ours, err := into.Find(t.Context(), id); err != nil || string(ours.Message.Body) != string(theirs.Message.Body) {
			t.Errorf("%s: %+v (%v)", id, ours, err)
		}
	}
}
