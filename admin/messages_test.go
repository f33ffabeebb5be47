package admin

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// openSpool makes a spool with some messages on topics a and b.
func openSpool(t *testing.T) (*spool.Spool, []message.ID) {
	t.Helper()
	dir := t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(t.Context(), db, spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	var ids []message.ID
	for i, topic := range []string{"a", "b", "a"} {
		m := message.Message{Topic: topic, Tag: "tag", Keys: []string{fmt.Sprint("key", i)}, OrderingKey: "o", ContentType: "text/plain", Body: fmt.Append(nil, "body ", i)}
		receipts, err := s.Append(t.Context(), []spool.Draft{{Message: m}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipts[0].ID)
	}
	return s, ids
}

func serveSpool(t *testing.T, opts Options) (addr string, s *spool.Spool, ids []message.ID) {
	t.Helper()
	s, ids = openSpool(t)
	return serve(t, New(opts, Sources{Spool: func() Spool { return s }, Archive: func() Archive { return s }})), s, ids
}

func (a answer) page(t *testing.T) (ids []string, next string) {
	t.Helper()
	var page struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
		Next string `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	for _, i := range page.Items {
		ids = append(ids, i.ID)
	}
	return ids, page.Next
}

func (a answer) code() string {
	var p struct {
		Code   string          `json:"code"`
		Stored json.RawMessage `json:"stored"`
	}
	_ = json.Unmarshal([]byte(a.body), &p)
	return fmt.Sprintf("%d %s %s", a.status, p.Code, p.Stored)
}

func TestListFiltersAndPages(t *testing.T) {
	addr, s, ids := serveSpool(t, Options{})
	if _, err := s.Hold(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string][]int{
		"": {0, 1, 2}, "topic=a": {0, 2}, "topic=none": nil, "key=key1": {1}, "tag=tag": {0, 1, 2}, "tag=x": nil,
		"state=pending": {0, 1, 2}, "state=dead,retrying": nil, "state=held": {2}, "state=held&topic=b": nil,
		"older_than=1h": nil, "older_than=7d": nil, "older_than=0s": {0, 1, 2}, "error=x": nil,
	} {
		var got []string
		for cursor, pages := "", 0; ; pages++ {
			ids, next := get(t, "GET", addr, "/v1/messages?limit=1&"+filter+cursor).page(t)
			if got = append(got, ids...); next == "" {
				break
			}
			if cursor = "&cursor=" + next; pages > 10 {
				t.Fatal("the pages do not end")
			}
		}
		var wanted []string
		for _, i := range want {
			wanted = append(wanted, ids[i].String())
		}
		if fmt.Sprint(got) != fmt.Sprint(wanted) {
			t.Errorf("%q: %v, want %v", filter, got, wanted)
		}
	}
	got := get(t, "GET", addr, "/v1/messages?key=key0").body
	for _, part := range []string{`"state":"pending"`, `"topic":"a"`, `"tag":"tag"`, `"keys":["key0"]`, `"ordering_key":"o"`, `"attempts":0`, `"accepted_at":"20`, `"size":`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s lacks %s", got, part)
		}
	}
	if strings.Contains(got, "body") {
		t.Errorf("a list shows bodies: %s", got)
	}
}

// Settled messages are listed where a state asks for them, and not exported.
func TestListShowsSettledMessages(t *testing.T) {
	addr, s, ids := serveSpool(t, Options{})
	if _, err := s.Cancel(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	got := get(t, "GET", addr, "/v1/messages?state=confirmed,cancelled")
	if got.status != 200 || !strings.Contains(got.body, ids[0].String()) || !strings.Contains(got.body, `"state":"cancelled"`) || !strings.Contains(got.body, `"settled_at"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := get(t, "GET", addr, "/v1/export?state=cancelled").code(); got != "400 invalid-option false" {
		t.Errorf("exported: %s", got)
	}
}

func TestListRefusesWhatItDoesNotKnow(t *testing.T) {
	addr, _, _ := serveSpool(t, Options{})
	for query, want := range map[string]string{
		"stat=dead": "400 invalid-option false", "state=gone": "400 invalid-option false",
		"older_than=5": "400 invalid-option false", "older_than=-5s": "400 invalid-option false", "cursor=x": "400 invalid-option false",
		"limit=0": "400 invalid-option false", "limit=1001": "400 invalid-option false", "limit=x": "400 invalid-option false",
	} {
		if got := get(t, "GET", addr, "/v1/messages?"+query).code(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestShowHasTheBodyOnlyWhenAskedFor(t *testing.T) {
	addr, _, ids := serveSpool(t, Options{Tokens: []string{"t"}})
	path := "/v1/messages/" + ids[0].String()
	got := get(t, "GET", addr, path)
	if got.status != 200 || strings.Contains(got.body, "body_base64") || !strings.Contains(got.body, `"body_size":6`) || !strings.Contains(got.body, `"event":"accepted"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := get(t, "GET", addr, path+"?body=true"); got.code() != "401 unauthorized false" {
		t.Errorf("without the token: %s", got.body)
	}
	if got := get(t, "GET", addr, path+"?body=true", "Authorization", "Bearer t"); !strings.Contains(got.body, `"body_base64":"Ym9keSAw"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	for path, want := range map[string]string{
		path + "?body=maybe": "400 invalid-option false", path + "?bdy=true": "400 invalid-option false",
		"/v1/messages/x": "404 not-found false", "/v1/messages/" + message.ID{1}.String(): `404 not-found "unknown"`,
	} {
		if got := get(t, "GET", addr, path, "Authorization", "Bearer t").code(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestMessagesAreChanged(t *testing.T) {
	addr, s, ids := serveSpool(t, Options{Tokens: []string{"t"}})
	do := func(method, path string) answer {
		return get(t, method, addr, "/v1/messages/"+path, "Authorization", "Bearer t")
	}
	first, second := ids[0].String(), ids[1].String()
	if got := get(t, "POST", addr, "/v1/messages/"+first+"/hold"); got.code() != "401 unauthorized false" {
		t.Errorf("without the token: %s", got.body)
	}
	if got := do("POST", first+"/hold"); got.status != 200 || !strings.Contains(got.body, `"state":"pending","held":true`) {
		t.Errorf("hold: %d %s", got.status, got.body)
	}
	if got := do("POST", first+"/retry").code(); got != "409 wrong-state true" {
		t.Errorf("retry of a message on hold: %s", got)
	}
	if got := do("POST", first+"/release"); got.status != 200 || strings.Contains(got.body, "held") {
		t.Errorf("release: %d %s", got.status, got.body)
	}
	if got := do("POST", first+"/retry"); got.status != 200 {
		t.Errorf("retry: %d %s", got.status, got.body)
	}
	if got := do("DELETE", first); got.status != 200 || !strings.Contains(got.body, `"state":"cancelled"`) {
		t.Errorf("cancel: %d %s", got.status, got.body)
	}
	if got := do("POST", first+"/hold").code(); got != "409 wrong-state false" {
		t.Errorf("hold of a cancelled one: %s", got)
	}
	leases, err := s.Lease(t.Context(), "b", spool.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := do("DELETE", second).code(); got != "409 already-sent true" {
		t.Errorf("cancel in flight: %s", got)
	}
	s.Retry(leases, time.Now().Add(time.Hour), message.OutcomeUnknown, "no answer")
	if got := do("DELETE", second).code(); got != "409 maybe-sent true" {
		t.Errorf("cancel after an unknown outcome: %s", got)
	}
	for path, want := range map[string]string{
		"x/hold": "404 not-found false", message.ID{1}.String() + "/hold": `404 not-found "unknown"`, first + "/burn": "404 no-such-path false",
	} {
		if got := do("POST", path).code(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestBeforeTheSpoolIsOpen(t *testing.T) {
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return nil }, Status: func() any { return map[string]bool{"ready": false} }}))
	for _, path := range []string{"/v1/messages", "/v1/messages/" + message.ID{1}.String()} {
		if got := get(t, "GET", addr, path); got.status != 503 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := get(t, "GET", addr, "/v1/status"); got.status != 200 || got.body != `{"ready":false}`+"\n" {
		t.Errorf("status: %d %s", got.status, got.body)
	}
}

// A filter that is empty, or stands twice, is not left out in silence.
func TestListRefusesFiltersThatChooseNothing(t *testing.T) {
	addr, _, _ := serveSpool(t, Options{})
	for _, path := range []string{"/v1/messages", "/v1/export", "/v1/dead-letters"} {
		for _, filter := range []string{"topic=", "state=&state=dead", "topic=a&topic=b", "tag=tag&key=", "older_than="} {
			if got := get(t, "GET", addr, path+"?"+filter).code(); got != "400 invalid-option false" {
				t.Errorf("%s?%s: %s", path, filter, got)
			}
		}
	}
	if a := get(t, "GET", addr, "/v1/messages?cursor="); a.status != 200 {
		t.Errorf("an empty cursor: %d %s", a.status, a.body)
	}
}
