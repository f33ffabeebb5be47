package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/seen"
)

// Seen is what the admin listener needs of a *seen.Store.
type Seen interface {
	Streams(ctx context.Context) ([]seen.Known, error)
	Numbers(ctx context.Context, group, topic string, origin message.SpoolID, from uint64) (seen.Page, error)
}

// Consumed tells of a subscription by what it consumes.
type Consumed struct {
	Name, Group, Topic string
	Filtered           bool   // it does not get all messages of the topic
	From               string // where the group started if it was new
}

// seenJSON is what a member of groups has noted.
type seenJSON struct {
	Streams []streamJSON `json:"streams"`
}

// streamJSON is of a group and topic. Subscription is missing where none consumes it
// any more.
type streamJSON struct {
	Group        string           `json:"group"`
	Topic        string           `json:"topic"`
	Subscription string           `json:"subscription,omitempty"`
	Filtered     bool             `json:"filtered"`
	From         string           `json:"from,omitempty"`
	Since        wire.Time        `json:"since"`
	UnsureAt     *wire.Time       `json:"unsure_at,omitempty"`
	Lazy         bool             `json:"lazy"`
	Origins      []seenOriginJSON `json:"origins"`
}

type seenOriginJSON struct {
	Origin    string `json:"origin"`
	Forgotten uint64 `json:"forgotten_to,omitempty"`
	Last      uint64 `json:"last_topic_sequence"`
	Handled   uint64 `json:"handled"`
	Dead      uint64 `json:"dead"`
	Repeats   uint64 `json:"repeats"`
}

// numbersJSON has ranges, each as its first and last number.
type numbersJSON struct {
	Origin  string      `json:"origin"`
	Handled [][2]uint64 `json:"handled"`
	Dead    [][2]uint64 `json:"dead"`
	Next    uint64      `json:"next,omitempty"`
}

// getSeen answers GET /v1/ledger/seen: which groups and origins there are, or, for
// one of each, the numbers.
func (a *api) getSeen(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	for name := range values {
		switch name {
		case "group", "topic", "origin", "from":
		default:
			writeProblem(w, problem.New(problem.InvalidOption, "%.40q is not known here; there are group, topic, origin and from", name))
			return
		}
	}
	notes := a.Seen()
	switch {
	case notes == nil:
		writeProblem(w, notOpen())
	case len(values) == 0:
		a.streams(w, r, notes)
	default:
		a.numbers(w, r, notes, values)
	}
}

func (a *api) streams(w http.ResponseWriter, r *http.Request, notes Seen) {
	all, err := notes.Streams(r.Context())
	if err != nil {
		a.notRead(w, err)
		return
	}
	out := seenJSON{Streams: make([]streamJSON, 0, len(all))}
	for _, k := range all {
		s := streamJSON{Group: k.Group, Topic: k.Topic, Since: wire.Time(k.Since), UnsureAt: wire.OptionalTime(k.UnsureAt), Lazy: k.Lazy, Origins: []seenOriginJSON{}}
		for _, sub := range a.Consumed {
			if sub.Group == k.Group && sub.Topic == k.Topic {
				s.Subscription, s.Filtered, s.From = sub.Name, sub.Filtered, sub.From
			}
		}
		for _, o := range k.Origins {
			s.Origins = append(s.Origins, seenOriginJSON{o.ID.String(), o.Forgotten, o.Last, o.Handled, o.Dead, o.Repeats})
		}
		out.Streams = append(out.Streams, s)
	}
	writeJSON(w, http.StatusOK, out)
}

func (a *api) numbers(w http.ResponseWriter, r *http.Request, notes Seen, values url.Values) {
	origin, err := parseOrigin(values.Get("origin"))
	if err != nil {
		writeProblem(w, problem.New(problem.InvalidOption, "origin: %s", err))
		return
	}
	from := uint64(1)
	if text := values.Get("from"); text != "" {
		if from, err = strconv.ParseUint(text, 10, 64); err != nil || from == 0 {
			writeProblem(w, problem.New(problem.InvalidOption, "from is %.40q; it is a number from 1 on", text))
			return
		}
	}
	page, err := notes.Numbers(r.Context(), values.Get("group"), values.Get("topic"), origin, from)
	switch {
	case errors.Is(err, seen.ErrUnknown):
		p := problem.New(problem.NotFound, "%s: group %.100q, topic %.130q", err, values.Get("group"), values.Get("topic"))
		p.Hint, p.Stored = "GET /v1/ledger/seen names those that are.", problem.StoredNo
		writeProblem(w, p)
	case err != nil:
		a.notRead(w, err)
	default:
		writeJSON(w, http.StatusOK, numbersJSON{Origin: origin.String(), Handled: pairs(page.Handled), Dead: pairs(page.Dead), Next: page.Next})
	}
}

func (a *api) notRead(w http.ResponseWriter, err error) {
	if errors.Is(err, seen.ErrClosed) {
		writeProblem(w, problem.New(problem.Draining, "%s", err))
		return
	}
	a.refuse(w, err, message.Receipt{})
}

func pairs(ranges []seen.Range) [][2]uint64 {
	out := make([][2]uint64, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, [2]uint64{r.First, r.Last})
	}
	return out
}
