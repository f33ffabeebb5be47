package main

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

const otherOrigin = "0a0b0c0d0e"

// another answers as a second producer, whose numbers are of otherOrigin.
func (s *sides) another(sent string, known ...string) (url string) {
	return s.serve(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/exceptions") && sent == "":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"status":404,"code":"not-found"}`)
		case strings.HasSuffix(r.URL.Path, "/exceptions"):
			fmt.Fprint(w, strings.ReplaceAll(sent, someOrigin, otherOrigin))
		default:
			fmt.Fprintf(w, `{"items":[%s]}`, chosen(r, known))
		}
	})
}

// handledOfOther has the first member say what it has handled of otherOrigin.
func (s *sides) handledOfOther(handled string) {
	s.numbers["0 "+otherOrigin+" 1"] = numbersAre(handled, "", "")
	s.numbers["1 "+otherOrigin+" 1"] = numbersAre("", "", "")
}

// TestOneOriginDoesNotHideAnother: whichever lacks something, it is not complete, and how
// the command ends is of the worst.
func TestOneOriginDoesNotHideAnother(t *testing.T) {
	late := []string{sentItem(11, "pending", "2026-01-01T00:00:00.000Z")}
	missing := []string{sentItem(11, "confirmed", "2026-03-01T00:00:00.000Z")}
	for name, tt := range map[string]struct {
		first, second int // numbers that were sent; 10 and 3 of them were handled
		known         []string
		code          int
	}{
		"nothing is missing":       {10, 3, nil, 0},
		"missing of the first":     {11, 3, missing, exitFailed},
		"maybe of the first":       {11, 3, nil, exitFailed},
		"maybe of the second":      {10, 4, nil, exitFailed},
		"on its way, of the first": {11, 3, late, exitPartly},
		"on its way, and a maybe":  {11, 4, late, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := twoMembers(t)
			s.sent, s.known = sentNumbers(tt.first, exception(3, "cancelled")), tt.known
			s.handledOfOther("[1,3]")
			code, out, said := s.compare("--producer", s.another(sentNumbers(tt.second)))
			if code != tt.code || out.Complete != (tt.code == 0) || len(out.Origins) != 2 {
				t.Errorf("%d %+v %s", code, out, said)
			}
		})
	}
}

// TestExceptionsAreOfTheirOrigin: a number that one origin never sent is asked for of
// another.
func TestExceptionsAreOfTheirOrigin(t *testing.T) {
	s := twoMembers(t)
	s.sent = strings.Replace(sentNumbers(10, exception(3, "cancelled"), strings.Replace(exception(11, "cancelled"), someOrigin, otherOrigin, 1)),
		`"last_topic_sequence":10`, `"last_topic_sequence":11`, 1)
	code, out, said := s.compare()
	if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].TopicSeq != 11 || out.Origins[0].Exceptions != 1 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestProducerThatNeverSentHidesNoOther; where none has, nothing is compared.
func TestProducerThatNeverSentHidesNoOther(t *testing.T) {
	s := twoMembers(t)
	if code, out, said := s.compare("--producer", s.another("")); code != 0 || !out.Complete || len(out.Origins) != 1 {
		t.Errorf("%d %+v %s", code, out, said)
	}
	s.sent = sentNumbers(11, exception(3, "cancelled"))
	if code, out, said := s.compare("--producer", s.another("")); code != exitFailed || len(out.Missing) != 1 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestAnOriginWhoseNumbersAreLostIsSaid: what was lost with its number may be among the
// missing, and is no number that was excepted.
func TestAnOriginWhoseNumbersAreLostIsSaid(t *testing.T) {
	s := twoMembers(t)
	s.sent = sentNumbers(10, exception(3, "cancelled"), strings.Replace(exception(0, "lost"), `"topic_sequence":0,`, "", 1))
	code, out, said := s.compare()
	if o := out.Origins[0]; code != 0 || o.Lost != 1 || o.Exceptions != 1 || !strings.Contains(said, "lost 1 message with its number") {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestAllPagesAreRead of what a producer says, and its last number is that of the first
// one: what is numbered later is not looked for.
func TestAllPagesAreRead(t *testing.T) {
	s := twoMembers(t)
	s.handledOfOther("[3,4]")
	next := func(page, cursor string) string {
		return strings.TrimSuffix(page, "}") + `,"next_cursor":"` + cursor + `"}`
	}
	pages := map[string]string{
		"exceptions ":     next(sentNumbers(6, exception(1, "cancelled")), "more"),
		"exceptions more": sentNumbers(9, exception(2, "discarded")),
		"messages ":       `{"items":[ITEMS],"next_cursor":"more"}`,
		"messages more":   `{"items":[ITEMS]}`,
	}
	known := map[string]string{"": sentItem(5, "pending", "2026-01-01T00:00:00.000Z"), "more": sentItem(6, "confirmed", "2026-03-01T00:00:00.000Z")}
	producer := s.serve(func(w http.ResponseWriter, r *http.Request) {
		cursor := r.URL.Query().Get("cursor")
		page, ok := pages[path.Base(r.URL.Path)+" "+cursor]
		if !ok {
			t.Errorf("asked for %s", r.URL)
		}
		page = strings.Replace(page, "ITEMS", chosen(r, []string{known[cursor]}), 1)
		fmt.Fprint(w, strings.ReplaceAll(page, someOrigin, otherOrigin))
	})
	code, out, said := s.compare("--producer", producer)
	if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].ID != "ID6" || len(out.Origins) != 2 {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	if o := out.Origins[1]; o.Last != 6 || o.Exceptions != 2 || o.Handled != 2 || o.Waiting != 1 || o.Missing != 1 {
		t.Errorf("%+v", o)
	}
}

// TestMemberThatDoesNotAnswerIsNoResult: also where only its numbers are not told.
func TestMemberThatDoesNotAnswerIsNoResult(t *testing.T) {
	for name, fails := range map[string]func(r *http.Request) bool{
		"at all":      func(*http.Request) bool { return true },
		"its numbers": func(r *http.Request) bool { return r.URL.Query().Has("origin") },
	} {
		t.Run(name, func(t *testing.T) {
			s := twoMembers(t)
			member := s.serve(func(w http.ResponseWriter, r *http.Request) {
				if fails(r) {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
			})
			code, out, said := s.compare("--member", member)
			if code == 0 || code == exitPartly || len(out.Origins) != 0 || !strings.Contains(said, member) {
				t.Errorf("%d %+v %s", code, out, said)
			}
		})
	}
}

// producerOf is a producer of which some messages are known, and what counts its requests.
func producerOf(t *testing.T, known map[uint64]string) (p source, asked *int) {
	t.Helper()
	asked = new(int)
	address := (&sides{t: t}).serve(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		var items []string
		for text := range strings.SplitSeq(r.URL.Query().Get("numbers"), ",") {
			var first, last uint64
			if n, _ := fmt.Sscanf(text, "%d-%d", &first, &last); n == 1 {
				last = first
			}
			for n := first; n <= last; n++ {
				if state := known[n]; state != "" && slices.Contains(strings.Split(r.URL.Query().Get("state"), ","), state) {
					items = append(items, fmt.Sprintf(`{"topic_sequence":%d,"state":%q}`, n, state))
				}
			}
		}
		fmt.Fprintf(w, `{"items":[%s]}`, strings.Join(items, ","))
	})
	running, err := new(operate).running(address)
	if err != nil {
		t.Fatal(err)
	}
	return source{spooler: running}, asked
}

// askFor asks a producer about numbers that no member has seen.
func (c *comparison) askFor(ctx context.Context, p source, o *comparedOrigin, open spans) error {
	open, err := c.confirmed(ctx, p, o, open)
	if err != nil {
		return err
	}
	return c.lookUp(ctx, p, o, open)
}

// TestWhatIsMissingBeyondTheListIsCounted, without what only waits, and not looked up.
func TestWhatIsMissingBeyondTheListIsCounted(t *testing.T) {
	c := &comparison{topic: "orders"}
	c.out.Missing = make([]missingMessage, listedMissing)
	o := &comparedOrigin{}
	p, asked := producerOf(t, map[uint64]string{8: "pending"})
	if err := c.askFor(t.Context(), p, o, spans{{7, 9}}); err != nil || o.Missing != 2 || o.Waiting != 1 || c.out.More != 2 || *asked != 1 {
		t.Errorf("%v, %d missing, %d waiting, %d not listed, asked %d times", err, o.Missing, o.Waiting, c.out.More, *asked)
	}
	c.out.Missing = c.out.Missing[:listedMissing-1]
	c.judge(o, 11, nil, time.Time{})
	c.judge(o, 12, nil, time.Time{})
	if o.Missing != 4 || len(c.out.Missing) != listedMissing || c.out.More != 3 {
		t.Errorf("%d missing, %d listed, %d more", o.Missing, len(c.out.Missing), c.out.More)
	}
}

// TestABacklogIsNotMissing: however much waits for the broker, in however many ranges, also
// when something else is missing, so that part of the list is taken. Each request has the
// producer read all that it holds: many ranges take no more of them than few.
func TestABacklogIsNotMissing(t *testing.T) {
	c := &comparison{topic: "orders"}
	c.out.Missing = make([]missingMessage, 1)
	const ranges = 20*askedAtOnce + 1
	known, open := map[uint64]string{}, spans{}
	for n := range uint64(ranges) {
		known[2*n+1] = "retrying"
		open = append(open, span{2*n + 1, 2*n + 1})
	}
	for n := uint64(2*ranges + 7); n < 2*ranges+7+listedMissing; n++ {
		known[n] = "pending"
	}
	open = append(open, span{2*ranges + 5, 2*ranges + 6 + listedMissing})
	known[2*ranges+5] = "cancelled"
	p, asked := producerOf(t, known)
	o := &comparedOrigin{}
	if err := c.askFor(t.Context(), p, o, open); err != nil || o.Missing != 1 || o.Exceptions != 1 || o.Waiting != ranges+listedMissing || c.out.More != 0 || *asked != 2 {
		t.Errorf("%v, %d missing, %d exceptions, %d waiting, %d not listed, asked %d times", err, o.Missing, o.Exceptions, o.Waiting, c.out.More, *asked)
	}
}

// TestPagesOfAMemberEndAtTheLastNumber: a page may end just before it.
func TestPagesOfAMemberEndAtTheLastNumber(t *testing.T) {
	s := twoMembers(t)
	s.numbers["0 "+someOrigin+" 5"] = numbersAre("[6,6],[9,9]", "", `,"next":10`)
	s.numbers["0 "+someOrigin+" 10"] = numbersAre("[10,10]", "", "")
	if code, out, said := s.compare(); code != 0 || out.Origins[0].Handled != 8 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestNumbersAtTheEndsAreCompared: the only one, and those at which a window of numbers
// ends and begins.
func TestNumbersAtTheEndsAreCompared(t *testing.T) {
	for name, tt := range map[string]struct {
		last    int
		handled string
		missing uint64
	}{
		"the only one":         {1, "", 1},
		"the first":            {10, "[2,10]", 1},
		"the last":             {10, "[1,9]", 10},
		"the last of a window": {window + 1, fmt.Sprintf("[1,%d],[%d,%d]", window-1, window+1, window+1), window},
		"the first of one":     {window + 1, fmt.Sprintf("[1,%d]", window), window + 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sides{t: t, sent: sentNumbers(tt.last)}
			member := s.serve(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("origin") {
					fmt.Fprint(w, numbersAre(tt.handled, "", ""))
					return
				}
				fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
			})
			code, out, said := s.compare("--member", member)
			if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].TopicSeq != tt.missing || out.Origins[0].Handled != uint64(tt.last-1) {
				t.Errorf("%d %+v %s", code, out, said)
			}
		})
	}
}

// TestWhatOneHandledIsNoDeadLetter: another member had given it up before.
func TestWhatOneHandledIsNoDeadLetter(t *testing.T) {
	s := twoMembers(t)
	s.numbers["0 "+someOrigin+" 5"] = numbersAre("[6,6],[8,10]", "", "")
	if code, out, said := s.compare(); code != 0 || out.Origins[0].Handled != 9 || out.Origins[0].Dead != 0 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestForgottenIsWhatAnyMemberForgot of this topic: whichever member it is.
func TestForgottenIsWhatAnyMemberForgot(t *testing.T) {
	forgetful := strings.Replace(streamOf(""), `"last_topic_sequence":9`, `"forgotten_to":8,"last_topic_sequence":9`, 1)
	s := twoMembers(t)
	s.streams[0] = forgetful
	s.numbers["0 "+someOrigin+" 9"] = numbersAre("[9,10]", "", "")
	s.numbers["1 "+someOrigin+" 9"] = numbersAre("", "", "")
	if code, out, said := s.compare(); code != 0 || out.Origins[0].From != 9 {
		t.Errorf("%d %+v %s", code, out, said)
	}
	s = twoMembers(t)
	s.streams[0] = streamOf("") + "," + strings.Replace(forgetful, `"topic":"orders"`, `"topic":"payments"`, 1)
	s.sent = sentNumbers(10)
	if code, out, said := s.compare(); code != exitFailed || len(out.Missing) != 1 || out.Origins[0].From != 1 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestTheOnlyNumberIsForgottenMeanwhile: it is not missing.
func TestTheOnlyNumberIsForgottenMeanwhile(t *testing.T) {
	s := &sides{t: t, sent: sentNumbers(1)}
	asked := 0
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case r.URL.Query().Has("origin"):
			fmt.Fprint(w, numbersAre("", "", ""))
		case asked == 1:
			fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
		default:
			fmt.Fprintf(w, `{"streams":[%s]}`, strings.Replace(streamOf(""), `"last_topic_sequence":9`, `"forgotten_to":1,"last_topic_sequence":9`, 1))
		}
	})
	if code, out, said := s.compare("--member", member); code != 0 || len(out.Missing) != 0 || out.Origins[0].From != 2 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestAMemberThatGetsUnsureMeanwhile has not told so when it was asked first.
func TestAMemberThatGetsUnsureMeanwhile(t *testing.T) {
	s := &sides{t: t, sent: sentNumbers(1), known: []string{sentItem(1, "confirmed", "2026-03-01T00:00:30.000Z")}}
	unsure := ""
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("origin") {
			unsure = `,"unsure_at":"2026-03-02T00:00:00.000Z"`
			fmt.Fprint(w, numbersAre("", "", ""))
			return
		}
		fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(unsure))
	})
	code, out, said := s.compare("--member", member)
	if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].Verdict != verdictMaybe || out.Origins[0].Maybe != 1 || out.Members[0].UnsureAt == nil {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestWhatAMemberGetsMeanwhileIsNotMissing: a member that has nothing when it is asked
// first gets messages until it is asked again, and forgets one. What another had before
// counts once.
func TestWhatAMemberGetsMeanwhileIsNotMissing(t *testing.T) {
	const confirmed = "2026-03-01T00:00:00.000Z"
	s := twoMembers(t)
	s.sent = sentNumbers(15, exception(3, "cancelled"))
	for _, n := range []int{11, 12, 13, 14, 15} {
		s.known = append(s.known, sentItem(n, "confirmed", confirmed))
	}
	asked, forgotten := 0, ""
	member := s.serve(func(w http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case !r.URL.Query().Has("origin"):
			fmt.Fprintf(w, `{"streams":[%s]}`, strings.Replace(streamOf(""), `"last_topic_sequence":9`, forgotten+`"last_topic_sequence":9`, 1))
		case asked == 2:
			fmt.Fprint(w, numbersAre("", "", ""))
		default:
			forgotten = `"forgotten_to":11,`
			fmt.Fprint(w, numbersAre("[9,9],[12,13]", "[14,14]", ""))
		}
	})
	code, out, said := s.compare("--member", member)
	if code != exitFailed || len(out.Missing) != 1 || out.Missing[0].ID != "ID15" {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	if o := out.Origins[0]; o.Handled != 8+2 || o.Dead != 1+1 || o.From != 12 || o.Missing != 1 {
		t.Errorf("%+v", o)
	}
}

// TestWhatIsConfirmedMeanwhileIsOnItsWay, by the clock of its producer: it may lie at the
// broker yet.
func TestWhatIsConfirmedMeanwhileIsOnItsWay(t *testing.T) {
	for settled, want := range map[string]int{"2026-05-31T23:59:59.999Z": exitFailed, "2026-06-01T00:00:00.000Z": exitPartly} {
		s := twoMembers(t)
		s.sent, s.known = sentNumbers(11, exception(3, "cancelled")), []string{sentItem(11, "confirmed", settled)}
		code, out, said := s.compare()
		if o := out.Origins[0]; code != want || o.Missing+o.Waiting != 1 || (o.Waiting == 1) != (want == exitPartly) {
			t.Errorf("confirmed at %s: %d %+v %s", settled, code, out, said)
		}
	}
}

// TestTheLastNumberIsADeadLetter of the group, as any other may be.
func TestTheLastNumberIsADeadLetter(t *testing.T) {
	s := twoMembers(t)
	s.numbers["0 "+someOrigin+" 5"] = numbersAre("[6,6],[9,9]", "", "")
	s.numbers["1 "+someOrigin+" 1"] = numbersAre("[2,2],[4,5],[7,7]", "[8,8],[10,10]", "")
	if code, out, said := s.compare(); code != 0 || out.Origins[0].Dead != 2 || out.Origins[0].Handled != 7 {
		t.Errorf("%d %+v %s", code, out, said)
	}
}

// TestOneSidecarIsComparedWithItself where no other is named.
func TestOneSidecarIsComparedWithItself(t *testing.T) {
	address := (&sides{t: t}).serve(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/exceptions"):
			fmt.Fprint(w, sentNumbers(2))
		case r.URL.Query().Has("origin"):
			fmt.Fprint(w, numbersAre("[1,2]", "", ""))
		default:
			fmt.Fprintf(w, `{"streams":[%s]}`, streamOf(""))
		}
	})
	var said strings.Builder
	if code := execute([]string{"ledger", "--compare", "--group", "billing", "--topic", "orders", "--url", address}, strings.NewReader(""), &said, &said); code != 0 {
		t.Errorf("%d %s", code, said.String())
	}
}
