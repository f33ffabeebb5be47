package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// compared is what a comparison found.
type compared struct {
	Group    string           `json:"group"`
	Topic    string           `json:"topic"`
	Complete bool             `json:"complete"` // every number that was sent was handled, or is a dead letter of the group
	Members  []comparedMember `json:"members"`
	Origins  []comparedOrigin `json:"origins"`
	Missing  []missingMessage `json:"missing"`
	More     uint64           `json:"missing_not_listed,omitempty"`
	// Foreign are origins of which a member has seen messages, and no producer that
	// was named knows: nothing is said of them.
	Foreign []string `json:"origins_of_no_producer"`
}

// comparedMember is a sidecar of the group.
type comparedMember struct {
	URL      string     `json:"url"`
	Since    time.Time  `json:"since"`
	UnsureAt *time.Time `json:"unsure_at,omitempty"`
	Lazy     bool       `json:"lazy"`
	Repeats  uint64     `json:"repeats"`
}

// comparedOrigin has the numbers that one spool gave.
type comparedOrigin struct {
	Origin     string `json:"origin"`
	Producer   string `json:"producer"`
	From       uint64 `json:"from"` // below, a member has forgotten its notes
	Last       uint64 `json:"last_topic_sequence"`
	Handled    uint64 `json:"handled"`
	Dead       uint64 `json:"dead"`       // dead letters of the group
	Exceptions uint64 `json:"exceptions"` // ended otherwise than confirmed, or dead at the producer
	Waiting    uint64 `json:"waiting"`    // not confirmed before they were compared
	NotDue     uint64 `json:"not_due"`    // the broker has them, for its timer
	Missing    uint64 `json:"missing"`
	Maybe      uint64 `json:"maybe_handled"`
	Lost       uint64 `json:"lost_with_their_numbers,omitempty"` // at the producer: they may be among the missing

	due time.Time // the latest of NotDue
}

// Verdicts on a number that nobody has seen handled.
const (
	verdictMissing = "missing"
	verdictMaybe   = "maybe_handled"
)

// missingMessage is a number that was sent, and that no member has seen handled.
type missingMessage struct {
	Origin      string     `json:"origin"`
	TopicSeq    uint64     `json:"topic_sequence"`
	ID          string     `json:"id,omitempty"` // absent: its receipt is not kept any more
	ConfirmedAt *time.Time `json:"confirmed_at,omitempty"`
	Verdict     string     `json:"verdict"`
	Why         string     `json:"why,omitempty"`
}

// listedMissing bounds how many are named.
const listedMissing = 10_000

// comparison is one on its way.
type comparison struct {
	group, topic       string
	producers, members []*spooler
	progress           func(n int64)

	out     compared
	streams []memberStream // of members
}

// memberStream is GET /v1/ledger/seen, of one group and topic.
type memberStream struct {
	Group    string     `json:"group"`
	Topic    string     `json:"topic"`
	Filtered bool       `json:"filtered"`
	Since    time.Time  `json:"since"`
	UnsureAt *time.Time `json:"unsure_at"`
	Lazy     bool       `json:"lazy"`
	Origins  []struct {
		Origin    string `json:"origin"`
		Forgotten uint64 `json:"forgotten_to"`
		Repeats   uint64 `json:"repeats"`
	} `json:"origins"`
}

// produced is what a producer says of a topic.
type produced struct {
	Origins []struct {
		Origin string `json:"origin"`
		Last   uint64 `json:"last_topic_sequence"`
	} `json:"origins"`
	Items []struct {
		Origin   string `json:"origin"`
		TopicSeq uint64 `json:"topic_sequence"`
		State    string `json:"state"`
	} `json:"items"`
	Next string `json:"next_cursor"`

	// asked is when it was asked first, by its own clock, to the second below; zero:
	// it did not say.
	asked time.Time
}

// run compares. Producers are asked for their last numbers before any member is
// asked: what is numbered later is not looked for. What is confirmed later is on its
// way, if no member has it at the end.
func (c *comparison) run(ctx context.Context) error {
	c.out = compared{Group: c.group, Topic: c.topic, Missing: []missingMessage{}, Foreign: []string{}}
	sent, err := c.readProducers(ctx)
	if err != nil {
		return err
	}
	if err := c.readMembers(ctx); err != nil {
		return err
	}
	for i, p := range c.producers {
		for _, o := range sent[i].Origins {
			if err := c.compareOrigin(ctx, p, &sent[i], o.Origin, o.Last); err != nil {
				return fmt.Errorf("compare origin %s: %w", o.Origin, err)
			}
		}
	}
	c.nameForeign()
	c.out.Complete = true
	for _, o := range c.out.Origins {
		c.out.Complete = c.out.Complete && o.Missing+o.Maybe+o.Waiting+o.NotDue == 0
	}
	return nil
}

// readProducers reads what was sent. One that never sent to the topic has nothing.
func (c *comparison) readProducers(ctx context.Context) ([]produced, error) {
	sent := make([]produced, len(c.producers))
	none := 0
	for i, p := range c.producers {
		var err error
		sent[i], err = c.exceptions(ctx, p)
		refused, ok := errors.AsType[refusal](err)
		switch {
		case ok && refused.status == http.StatusNotFound:
			none++
		case err != nil:
			return nil, fmt.Errorf("producer %s: %w", p.base, err)
		}
	}
	if none == len(c.producers) {
		return nil, fail(exitUsage, "no producer that was named has ever accepted a message of the topic %s", c.topic)
	}
	return sent, nil
}

// exceptions reads all pages; the origins are those of the first one.
func (c *comparison) exceptions(ctx context.Context, p *spooler) (all produced, err error) {
	for cursor := ""; ; {
		var page produced
		path := "/v1/ledger/" + url.PathEscape(c.topic) + "/exceptions?limit=1000&cursor=" + url.QueryEscape(cursor)
		r, err := p.answer(ctx, http.MethodGet, path)
		if err != nil {
			return all, err
		}
		if err := decoded(r.body, &page); err != nil {
			return all, err
		}
		if cursor == "" {
			all.Origins = page.Origins
			all.asked, _ = http.ParseTime(r.header.Get("Date"))
		}
		all.Items = append(all.Items, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

func (c *comparison) readMembers(ctx context.Context) error {
	c.streams = c.streams[:0]
	for _, m := range c.members {
		streams, err := readStreams(ctx, m)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(streams, func(s memberStream) bool { return s.Group == c.group && s.Topic == c.topic })
		if i < 0 {
			return fail(exitUsage, "%s is no member of group %s for topic %s; it has noted for: %s", m.base, c.group, c.topic, streamNames(streams))
		}
		s := streams[i]
		if s.Filtered {
			return fail(exitUsage, "group %s filters topic %s at %s: it does not get all messages, so that what is missing cannot be told from what is not wanted; compare an unfiltered group", c.group, c.topic, m.base)
		}
		c.streams = append(c.streams, s)
		repeats := uint64(0)
		for _, o := range s.Origins {
			repeats += o.Repeats
		}
		c.out.Members = append(c.out.Members, comparedMember{m.base, s.Since, s.UnsureAt, s.Lazy, repeats})
	}
	return nil
}

func streamNames(all []memberStream) string {
	if len(all) == 0 {
		return "no group at all"
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Group + " of " + s.Topic
	}
	return strings.Join(names, ", ")
}

// window bounds the numbers that are in memory.
const window = 1 << 20

func (c *comparison) compareOrigin(ctx context.Context, p *spooler, sent *produced, origin string, last uint64) error {
	o := comparedOrigin{Origin: origin, Producer: p.base, From: 1 + c.forgotten(origin), Last: last}
	var all []span
	for _, e := range sent.Items {
		switch {
		case e.Origin != origin:
		case e.TopicSeq == 0:
			o.Lost++
		default:
			all = append(all, span{e.TopicSeq, e.TopicSeq})
		}
	}
	excepted := spansOf(all)
	o.Exceptions = excepted.within(o.From, last).count()
	for first := o.From; first <= last; first += window {
		end := min(last, first+window-1)
		if err := c.compareWindow(ctx, source{p, sent.asked}, &o, excepted, first, end); err != nil {
			return err
		}
		c.progress(int64(end - first + 1))
	}
	c.out.Origins = append(c.out.Origins, o)
	return nil
}

// forgotten is up to where any member had forgotten when it was asked first.
func (c *comparison) forgotten(origin string) (to uint64) {
	for _, s := range c.streams {
		to = max(to, s.forgotten(origin))
	}
	return to
}

func (s *memberStream) forgotten(origin string) uint64 {
	for _, o := range s.Origins {
		if o.Origin == origin {
			return o.Forgotten
		}
	}
	return 0
}

// source is a producer that is asked what became of its messages.
type source struct {
	*spooler
	since time.Time // what it confirmed from then on was on its way when it was compared
}

// compareWindow asks the members, then the producer for what waits, and then the members
// again: what was handled while they were asked is not missing.
func (c *comparison) compareWindow(ctx context.Context, p source, o *comparedOrigin, excepted spans, first, last uint64) error {
	done, given, err := c.seen(ctx, o.Origin, first, last)
	if err != nil {
		return err
	}
	o.Handled += done.count()
	o.Dead += given.count()
	open := spans{{first, last}}.minus(excepted).minus(done).minus(given)
	if open, err = c.remembered(ctx, o, open, first); err != nil {
		return err
	}
	if open, err = c.confirmed(ctx, p, o, open); err != nil {
		return err
	}
	if open, err = c.again(ctx, o, open, first); err != nil {
		return err
	}
	return c.lookUp(ctx, p, o, open)
}

// seen is what the members have seen of a window: handled, and dead letters.
func (c *comparison) seen(ctx context.Context, origin string, first, last uint64) (done, given spans, err error) {
	var handled, dead []span
	for _, m := range c.members {
		if err := c.numbers(ctx, m, origin, first, last, &handled, &dead); err != nil {
			return nil, nil, fmt.Errorf("member %s: %w", m.base, err)
		}
	}
	done = spansOf(handled)
	return done, spansOf(dead).minus(done), nil
}

// again takes out what a member has seen, or forgotten, since it was asked first; of the
// window that begins with first.
func (c *comparison) again(ctx context.Context, o *comparedOrigin, open spans, first uint64) (spans, error) {
	if len(open) == 0 {
		return nil, nil
	}
	done, given, err := c.seen(ctx, o.Origin, open[0].first, open[len(open)-1].last)
	if err != nil {
		return nil, err
	}
	unhandled := open.minus(done)
	rest := unhandled.minus(given)
	o.Handled += open.count() - unhandled.count()
	o.Dead += unhandled.count() - rest.count()
	return c.remembered(ctx, o, rest, first)
}

// remembered takes out what a member has forgotten by now, of the window that begins with
// first; it may be above the window before, and this one.
func (c *comparison) remembered(ctx context.Context, o *comparedOrigin, open spans, first uint64) (spans, error) {
	if len(open) == 0 {
		return nil, nil
	}
	to, err := c.forgottenBy(ctx, o.Origin)
	if err != nil {
		return nil, err
	}
	if to >= first {
		open, o.From = open.minus(spans{{first, to}}), max(o.From, to+1)
	}
	return open, nil
}

// forgottenBy is forgotten as it is now: what a member forgot before its numbers were
// read is missing among them, and so is what made it unsure.
func (c *comparison) forgottenBy(ctx context.Context, origin string) (to uint64, err error) {
	for i, m := range c.members {
		streams, err := readStreams(ctx, m)
		if err != nil {
			return 0, err
		}
		for _, s := range streams {
			if s.Group == c.group && s.Topic == c.topic {
				to = max(to, s.forgotten(origin))
				c.streams[i].UnsureAt, c.out.Members[i].UnsureAt = s.UnsureAt, s.UnsureAt
			}
		}
	}
	return to, nil
}

// readStreams is what a member has notes of.
func readStreams(ctx context.Context, m *spooler) ([]memberStream, error) {
	var seen struct {
		Streams []memberStream `json:"streams"`
	}
	if _, err := m.read(ctx, "/v1/ledger/seen", &seen); err != nil {
		return nil, fmt.Errorf("member %s: %w", m.base, err)
	}
	return seen.Streams, nil
}

// numbers reads what a member has seen of a window.
func (c *comparison) numbers(ctx context.Context, m *spooler, origin string, first, last uint64, handled, dead *[]span) error {
	query := url.Values{"group": {c.group}, "topic": {c.topic}, "origin": {origin}}
	for from := first; from > 0 && from <= last; {
		query.Set("from", strconv.FormatUint(from, 10))
		var page struct {
			Handled [][2]uint64 `json:"handled"`
			Dead    [][2]uint64 `json:"dead"`
			Next    uint64      `json:"next"`
		}
		if _, err := m.read(ctx, "/v1/ledger/seen?"+query.Encode(), &page); err != nil {
			return err
		}
		*handled = append(*handled, inside(page.Handled, first, last)...)
		*dead = append(*dead, inside(page.Dead, first, last)...)
		from = page.Next
	}
	return nil
}

func inside(ranges [][2]uint64, first, last uint64) []span {
	all := make(spans, len(ranges))
	for i, r := range ranges {
		all[i] = span{r[0], r[1]}
	}
	return all.within(first, last)
}

// nameForeign names the origins that no producer was asked about.
func (c *comparison) nameForeign() {
	for _, s := range c.streams {
		for _, o := range s.Origins {
			known := slices.ContainsFunc(c.out.Origins, func(k comparedOrigin) bool { return k.Origin == o.Origin })
			if !known && !slices.Contains(c.out.Foreign, o.Origin) {
				c.out.Foreign = append(c.out.Foreign, o.Origin)
			}
		}
	}
	slices.Sort(c.out.Foreign)
}

func (c *comparison) json() (json.RawMessage, error) { return json.Marshal(&c.out) }
