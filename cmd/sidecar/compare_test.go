package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	someOrigin = "0102030405"
	comparedAt = "Mon, 01 Jun 2026 00:00:00 GMT"
)

// sides are admin listeners that answer as they are told, by path.
type sides struct {
	t       *testing.T
	sent    string            // exceptions of the producer
	known   []string          // its messages, as items
	streams []string          // of each member
	numbers map[string]string // of each member, by "member origin from"
}

// serve answers at comparedAt, by its own clock.
func (s *sides) serve(answer func(w http.ResponseWriter, r *http.Request)) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", comparedAt)
		answer(w, r)
	}))
	s.t.Cleanup(server.Close)
	return server.URL
}

// page is the one of a member that has a number, or would have it.
func (s *sides) page(member int, q url.Values) string {
	for from, _ := strconv.Atoi(q.Get("from")); from > 0; from-- {
		if page, ok := s.numbers[fmt.Sprint(member, " ", q.Get("origin"), " ", from)]; ok {
			return page
		}
	}
	return ""
}

// chosen are the items in the states that are asked for.
func chosen(r *http.Request, items []string) string {
	var out []string
	for _, item := range items {
		for state := range strings.SplitSeq(r.URL.Query().Get("state"), ",") {
			if strings.Contains(item, fmt.Sprintf(`"state":%q`, state)) {
				out = append(out, item)
			}
		}
	}
	return strings.Join(out, ",")
}

// compare runs the command, and returns how it ended and what it said.
func (s *sides) compare(more ...string) (code int, out compared, said string) {
	s.t.Helper()
	producer := s.serve(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/exceptions") {
			fmt.Fprint(w, s.sent)
			return
		}
		if q := r.URL.Query(); q.Get("origin") != someOrigin || q.Get("topic") != "orders" {
			s.t.Errorf("the producer was asked for %s", r.URL)
		}
		fmt.Fprintf(w, `{"items":[%s]}`, chosen(r, s.known))
	})
	args := []string{"ledger", "--compare", "--group", "billing", "--topic", "orders", "-o", "json", "--producer", producer}
	for i, stream := range s.streams {
		args = append(args, "--member", s.serve(func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); q.Has("origin") {
				fmt.Fprint(w, s.page(i, q))
				return
			}
			fmt.Fprintf(w, `{"streams":[%s]}`, stream)
		}))
	}
	var stdout, stderr bytes.Buffer
	code = execute(append(args, more...), strings.NewReader(""), &stdout, &stderr)
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
			s.t.Fatal(err)
		}
	}
	return code, out, stderr.String()
}

func sentNumbers(last int, exceptions ...string) string {
	return fmt.Sprintf(`{"topic":"orders","origins":[{"origin":%q,"last_topic_sequence":%d}],"since":"2026-01-01T00:00:00.000Z","items":[%s]}`,
		someOrigin, last, strings.Join(exceptions, ","))
}

func exception(n int, state string) string {
	return fmt.Sprintf(`{"origin":%q,"topic_sequence":%d,"id":"X","state":%q,"at":"2026-01-01T00:00:00.000Z"}`, someOrigin, n, state)
}

func sentItem(n int, state, settled string) string {
	return fmt.Sprintf(`{"id":"ID%d","topic":"orders","topic_sequence":%d,"state":%q,"accepted_at":"2026-01-01T00:00:00.000Z","settled_at":%q,"attempts":1}`, n, n, state, settled)
}

func streamOf(more string) string {
	return fmt.Sprintf(`{"group":"billing","topic":"orders","filtered":false,"since":"2026-01-01T00:00:00.000Z","lazy":false,"origins":[{"origin":%q,"last_topic_sequence":9,"handled":4,"dead":0,"repeats":1}]%s}`, someOrigin, more)
}

func numbersAre(handled, dead, next string) string {
	return fmt.Sprintf(`{"origin":%q,"handled":[%s],"dead":[%s]%s}`, someOrigin, handled, dead, next)
}

// twoMembers have handled all of ten numbers but what the producer says of them:
// 3 was cancelled, 8 is a dead letter of the group.
func twoMembers(t *testing.T) *sides {
	t.Helper()
	s := &sides{t: t, sent: sentNumbers(10, exception(3, "cancelled")), streams: []string{streamOf(""), streamOf("")}}
	s.numbers = map[string]string{
		"0 " + someOrigin + " 1": numbersAre("[1,2]", "", `,"next":5`),
		"0 " + someOrigin + " 5": numbersAre("[6,6],[9,10]", "", ""),
		"1 " + someOrigin + " 1": numbersAre("[2,2],[4,5],[7,7]", "[8,8]", ""),
	}
	return s
}

func TestCompleteComparison(t *testing.T) {
	code, out, said := twoMembers(t).compare()
	if code != 0 || !out.Complete || len(out.Missing) != 0 || len(out.Members) != 2 || !strings.Contains(said, "complete") {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	if o := out.Origins[0]; o.Handled != 8 || o.Dead != 1 || o.Exceptions != 1 || o.Last != 10 || o.From != 1 {
		t.Errorf("%+v", o)
	}
}

// TestWhatNobodySawIsNamed: by its ID, where the producer knows it, and by its
// number; with 1 as the end.
func TestWhatNobodySawIsNamed(t *testing.T) {
	s := twoMembers(t)
	s.numbers["1 "+someOrigin+" 1"] = numbersAre("[2,2],[5,5],[7,7]", "[8,8]", "")
	s.sent = sentNumbers(11, exception(3, "cancelled"))
	s.known = []string{sentItem(4, "confirmed", "2026-03-01T00:00:00.000Z")}
	code, out, said := s.compare()
	if code != exitFailed || out.Complete || len(out.Missing) != 2 {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	if m := out.Missing[0]; m.ID != "ID4" || m.TopicSeq != 4 || m.Verdict != verdictMissing || m.Origin != someOrigin {
		t.Errorf("%+v", m)
	}
	if m := out.Missing[1]; m.ID != "" || m.TopicSeq != 11 {
		t.Errorf("%+v", m)
	}
	if !strings.Contains(said, "queue resend") {
		t.Errorf("said %s", said)
	}
}

// TestWhatMayHaveBeenHandledIsToldApart: a member that is unsure, or whose notes are
// younger than the message, makes nothing missing.
func TestWhatMayHaveBeenHandledIsToldApart(t *testing.T) {
	for i, tt := range []struct{ stream, want string }{
		{streamOf(`,"unsure_at":"2026-03-01T00:00:00.000Z"`), "2026-03-01"},
		{streamOf(`,"unsure_at":"2026-02-28T00:00:00.000Z"`), ""},
		{strings.Replace(streamOf(""), `"since":"2026-01-01T`, `"since":"2026-03-02T`, 1), "2026-03-02"},
		{strings.Replace(streamOf(""), `"since":"2026-01-01T`, `"since":"2026-03-01T`, 1), ""},
		{streamOf(`,"unsure_at":"2026-03-01T00:00:00.000Z"`), "2026-03-01"},
	} {
		s, member, want := twoMembers(t), i%2, tt.want
		s.streams[member] = tt.stream
		s.sent = sentNumbers(11, exception(3, "cancelled"))
		s.known = []string{sentItem(11, "confirmed", "2026-03-01T00:00:30.000Z")}
		code, out, said := s.compare()
		if code != exitFailed || len(out.Missing) != 1 {
			t.Fatalf("%d %+v %s", code, out, said)
		}
		if want != "" {
			want = out.Members[member].URL + " .*" + want
		}
		if m := out.Missing[0]; (m.Verdict == verdictMaybe) != (want != "") || !regexp.MustCompile(want).MatchString(m.Why) || out.Origins[0].Maybe+out.Origins[0].Missing != 1 {
			t.Errorf("%+v, want it because of %q", m, want)
		}
	}
}

// TestWhatIsOnItsWayIsNotMissing: it ends with 4, and what ended since the exceptions
// were read, or is a dead letter since, is one.
func TestWhatIsOnItsWayIsNotMissing(t *testing.T) {
	s := twoMembers(t)
	s.sent = sentNumbers(15, exception(3, "cancelled"))
	s.known = []string{sentItem(11, "pending", ""), sentItem(12, "in_flight", ""), sentItem(13, "retrying", ""), sentItem(14, "discarded", ""), sentItem(15, "dead", "")}
	for i := range s.known {
		s.known[i] = strings.Replace(s.known[i], `"settled_at":"",`, "", 1)
	}
	code, out, said := s.compare()
	if o := out.Origins[0]; code != exitPartly || out.Complete || o.Waiting != 3 || o.Exceptions != 3 || len(out.Missing) != 0 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestWhatIsNotComparedIsSaid: forgotten numbers, and origins of nobody.
func TestWhatIsNotComparedIsSaid(t *testing.T) {
	s := twoMembers(t)
	foreign := `{"origin":"ffffffffff","last_topic_sequence":9,"handled":4,"dead":0,"repeats":1}`
	s.streams[0] = strings.Replace(streamOf(""), `"origins":[`, `"origins":[`+foreign+`,`, 1)
	s.streams[1] = strings.Replace(streamOf(""), `"last_topic_sequence":9`, `"forgotten_to":8,"last_topic_sequence":9`, 1)
	s.numbers["0 "+someOrigin+" 9"] = numbersAre("[9,10]", "", "")
	s.numbers["1 "+someOrigin+" 9"] = numbersAre("", "", "")
	code, out, said := s.compare()
	if code != 0 || out.Origins[0].From != 9 || out.Origins[0].Handled != 2 || out.Origins[0].Exceptions != 0 || len(out.Foreign) != 1 {
		t.Errorf("%d %+v", code, out)
	}
	for _, want := range []string{"below 9 are not compared", "ffffffffff is not compared"} {
		if !strings.Contains(said, want) {
			t.Errorf("said %s, want %s", said, want)
		}
	}
}

// TestWhatIsForgottenMeanwhileIsNotMissing: a member tells how far it has forgotten, then
// forgets more, and then tells its numbers.
func TestWhatIsForgottenMeanwhileIsNotMissing(t *testing.T) {
	s := twoMembers(t)
	s.streams = []string{streamOf("")}
	asked := 0
	s.numbers["0 "+someOrigin+" 1"] = numbersAre("[5,7],[9,10]", "", "")
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		forgotten := ""
		if asked++; asked > 2 {
			forgotten = `"forgotten_to":4,`
		}
		if r.URL.Query().Has("origin") {
			fmt.Fprint(w, numbersAre("", "", ""))
			return
		}
		fmt.Fprintf(w, `{"streams":[%s]}`, strings.Replace(streamOf(""), `"last_topic_sequence":9`, forgotten+`"last_topic_sequence":9`, 1))
	})
	code, out, said := s.compare("--member", member)
	if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].TopicSeq != 8 || out.Origins[0].From != 5 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestWhatIsForgottenBeyondAWindowIsNotMissing: what was forgotten reaches into the next
// window, in which nothing more was forgotten.
func TestWhatIsForgottenBeyondAWindowIsNotMissing(t *testing.T) {
	s := &sides{t: t, sent: sentNumbers(window + 10)}
	asked := 0
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case r.URL.Query().Has("origin"):
			fmt.Fprint(w, numbersAre(fmt.Sprintf("[%d,%d]", window+5, window+10), "", ""))
		case asked == 1:
			fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
		default:
			fmt.Fprintf(w, `{"streams":[%s]}`, strings.Replace(streamOf(""), `"last_topic_sequence":9`, fmt.Sprintf(`"forgotten_to":%d,"last_topic_sequence":9`, window+4), 1))
		}
	})
	code, out, said := s.compare("--member", member)
	if code != 0 || len(out.Missing) != 0 || out.Origins[0].From != window+5 || out.Origins[0].Handled != 6 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestWhatCannotBeComparedIsRefused: with 2, and the reason.
func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	filtered, other := twoMembers(t), twoMembers(t)
	filtered.streams[1] = strings.Replace(streamOf(""), `"filtered":false`, `"filtered":true`, 1)
	other.streams[1] = strings.Replace(streamOf(""), `"group":"billing"`, `"group":"bills"`, 1)
	for s, want := range map[*sides]string{filtered: "filters topic orders", other: "it has noted for: bills of orders"} {
		if code, _, said := s.compare(); code != exitUsage || !strings.Contains(said, want) {
			t.Errorf("%d %s, want %s", code, said, want)
		}
	}
	for _, args := range []string{"--group billing", "--compare --group billing", "--compare --topic orders"} {
		if code := execute(append([]string{"ledger"}, strings.Fields(args)...), strings.NewReader(""), io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%s: %d", args, code)
		}
	}
	if code, _, said := twoMembers(t).compare("--dir", t.TempDir()); code != exitUsage || !strings.Contains(said, "running sidecars") {
		t.Errorf("%d %s", code, said)
	}
}

// TestComparingWaits: what is on its way is looked for again.
func TestComparingWaits(t *testing.T) {
	s := twoMembers(t)
	whole := s.numbers["1 "+someOrigin+" 1"]
	s.numbers["1 "+someOrigin+" 1"] = numbersAre("[2,2]", "[8,8]", "")
	asked := 0
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case !r.URL.Query().Has("origin"):
			fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
		case asked > 2:
			fmt.Fprint(w, whole)
		default:
			fmt.Fprint(w, numbersAre("", "", ""))
		}
	})
	began := time.Now()
	if code, out, said := s.compare("--member", member, "--wait", "5m"); code != 0 || !out.Complete || time.Since(began) > 4*time.Minute {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestComparingWaitsNoLonger than it was told, where something stays on its way.
func TestComparingWaitsNoLonger(t *testing.T) {
	s := twoMembers(t)
	s.sent, s.known = sentNumbers(11, exception(3, "cancelled")), []string{sentItem(11, "pending", "2026-01-01T00:00:00.000Z")}
	if code, out, said := s.compare("--wait", "1ms"); code != exitPartly || out.Origins[0].Waiting != 1 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestWhatTheBrokersTimerHasIsNotMissing until it is due: it has a count of its own, and
// ends with 4. It is not waited for where it is not due by then.
func TestWhatTheBrokersTimerHasIsNotMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		due  string
		code int
	}{
		"not due":                          {"2026-06-01T00:00:00.000Z", exitPartly},
		"far from due":                     {"2999-06-01T00:00:00.000Z", exitPartly},
		"due before they were compared":    {"2026-05-31T23:59:59.999Z", exitFailed},
		"due when it was, and not a timer": {"", exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := twoMembers(t)
			s.sent = sentNumbers(11, exception(3, "cancelled"))
			item := sentItem(11, "confirmed", "2026-03-01T00:00:00.000Z")
			if tt.due != "" {
				item = strings.Replace(item, `"settled_at"`, fmt.Sprintf(`"deliver_at":%q,"settled_at"`, tt.due), 1)
			}
			s.known = []string{item}
			code, out, said := s.compare()
			o := out.Origins[0]
			if code != tt.code || out.Complete || o.NotDue+o.Missing != 1 || (o.NotDue == 1) != (code == exitPartly) || len(out.Missing) != int(o.Missing) || o.Waiting+o.Maybe != 0 {
				t.Errorf("%d %+v %s", code, out, said)
			}
			if told := strings.Contains(said, "1 message is not due") && strings.Contains(said, "until "+strings.Replace(tt.due, ".000Z", "Z", 1)); told != (code == exitPartly) {
				t.Errorf("said %s", said)
			}
		})
	}
}

// TestComparingDoesNotWaitForATimer that ends later than the wait does; but it does where
// it may end before, or where something else is missing.
func TestComparingDoesNotWaitForATimer(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		of   []comparedOrigin
		want bool
	}{
		"not due":                {[]comparedOrigin{{NotDue: 1, due: now.Add(time.Hour)}, {NotDue: 2, due: now.Add(-time.Hour)}}, true},
		"due by then":            {[]comparedOrigin{{NotDue: 1, due: now.Add(-time.Second)}}, false},
		"another is on its way":  {[]comparedOrigin{{NotDue: 1, due: now.Add(time.Hour)}, {Waiting: 1}}, false},
		"another is missing":     {[]comparedOrigin{{NotDue: 1, due: now.Add(time.Hour)}, {Missing: 1}}, false},
		"another may be handled": {[]comparedOrigin{{NotDue: 1, due: now.Add(time.Hour), Maybe: 1}}, false},
		"nothing is for a timer": {[]comparedOrigin{{Waiting: 1}}, false},
	} {
		if got := (&compared{Origins: tt.of}).settledUntil(now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !(&compared{Complete: true}).settledUntil(now) {
		t.Error("what is complete is looked at again")
	}
}
