package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
)

// routeGroups serves the dead letters of consumer groups, which are the broker's.
func (a *api) routeGroups(mux *routes) {
	mux.HandleFunc("GET /v1/groups/{group}/dead-letters", a.groupLetters)
	mux.HandleFunc("GET /v1/groups/{group}/dead-letters/{id}", a.groupLetter)
	mux.HandleFunc("POST /v1/groups/{group}/dead-letters/redrive", a.changeGroupLetters(kindRedrive))
	mux.HandleFunc("POST /v1/groups/{group}/dead-letters/discard", a.changeGroupLetters(kindDiscard))
}

// group returns the one of the path, or answers that there is none.
func (a *api) group(w http.ResponseWriter, r *http.Request) (*deadletter.Group, bool) {
	name := r.PathValue("group")
	var all map[string]*deadletter.Group
	if a.Groups != nil {
		all = a.Groups()
	}
	switch g := all[name]; {
	case g != nil:
		return g, true
	case all == nil && a.Groups != nil:
		writeProblem(w, problem.New(problem.Starting, "the subscriptions have not begun"))
	default:
		writeProblem(w, problem.New(problem.UnknownGroup, "no subscription here is of group %.40q", name))
	}
	return nil, false
}

// letterJSON is a dead letter of a group in a list.
type letterJSON struct {
	ID              string    `json:"id"` // message ID; else the broker's message ID of its first copy
	Topic           string    `json:"topic"`
	Cause           string    `json:"cause"`
	Attempts        int       `json:"attempts"`
	DiedAt          wire.Time `json:"died_at"`
	BornAt          wire.Time `json:"born_at"`
	Size            int       `json:"size"` // bytes
	Tag             string    `json:"tag,omitempty"`
	Keys            []string  `json:"keys,omitempty"`
	OrderingKey     string    `json:"ordering_key,omitempty"`
	Queue           string    `json:"queue"` // of the dead letters
	Offset          int64     `json:"offset"`
	BrokerMessageID string    `json:"broker_message_id"`
	Damage          string    `json:"damage,omitempty"` // why its body is not what was sent
}

// letterStoryJSON is all that is known of one.
type letterStoryJSON struct {
	letterJSON

	ContentType     string             `json:"content_type,omitempty"`
	ContentEncoding string             `json:"content_encoding,omitempty"`
	Properties      []message.Property `json:"properties,omitempty"`
	BodySize        int                `json:"body_size"` // bytes
	Body            []byte             `json:"body_base64,omitempty"`
}

func letterOf(l *deadletter.Letter) letterJSON {
	return letterJSON{
		ID: l.Identity, Topic: l.Topic, Cause: l.Cause, Attempts: l.Attempt, DiedAt: wire.Time(l.DiedAt), BornAt: wire.Time(l.BornAt),
		Size: l.Size(), Tag: l.Tag, Keys: l.Keys, OrderingKey: l.OrderingKey,
		Queue: l.Queue, Offset: l.Offset, BrokerMessageID: l.BrokerMessageID, Damage: l.Damage,
	}
}

func letterStoryOf(l *deadletter.Letter, withBody bool) letterStoryJSON {
	out := letterStoryJSON{
		letterJSON: letterOf(l), ContentType: l.ContentType, ContentEncoding: l.ContentEncoding, Properties: l.Properties, BodySize: len(l.Body),
	}
	if withBody {
		out.Body = l.Body
	}
	return out
}

// groupLetters answers GET /v1/groups/{group}/dead-letters: with ?body=true with their
// bodies, which are for those who may change things.
func (a *api) groupLetters(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	groupBy, grouped, withBody := values.Get("group_by"), values.Has("group_by"), values.Get("body")
	values.Del("group_by")
	values.Del("body")
	f, cursor, limit, p := a.groupQuery(values)
	switch {
	case p != nil:
	case withBody == "true":
		p = a.tokens.Check(r.Header.Get("Authorization"))
	case withBody != "" && withBody != "false":
		p = problem.New(problem.InvalidOption, "body is %.40q; it is true or false", withBody)
	case grouped && groupBy != "cause":
		p = problem.New(problem.InvalidOption, "group_by is %.40q; there is cause", groupBy)
	case grouped && (values.Has("cursor") || values.Has("limit")):
		p = problem.New(problem.InvalidOption, "groups have no pages: leave cursor and limit out")
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	g, ok := a.group(w, r)
	switch {
	case !ok:
	case grouped:
		a.groupCauses(w, r, g, f)
	default:
		a.groupPage(w, r, g, f, cursor, limit, withBody == "true")
	}
}

// groupQuery reads the filters of a list of a group: those of the spool's, but for
// what a group's dead letters have not.
func (a *api) groupQuery(values url.Values) (f deadletter.GroupFilter, cursor string, limit int, p *problem.Problem) {
	known := []string{"topic", "key", "tag", "cause", "older_than", "cursor", "limit"}
	for name := range values {
		if !slices.Contains(known, name) {
			return f, "", 0, problem.New(problem.InvalidOption, "%.40q is no filter; there are %s", name, strings.Join(known, ", "))
		}
	}
	q, p := a.query(values)
	f = deadletter.GroupFilter{Topic: q.Topic, Key: q.Key, Tag: q.Tag, Cause: q.Cause, Before: q.Before}
	if limit = q.Limit; limit == 0 {
		limit = 100
	}
	return f, q.Cursor, limit, p
}

func (a *api) groupPage(w http.ResponseWriter, r *http.Request, g *deadletter.Group, f deadletter.GroupFilter, cursor string, limit int, withBody bool) {
	page, err := g.List(r.Context(), f, cursor, limit)
	if err != nil {
		a.refuseGroup(w, g, err)
		return
	}
	answer := struct {
		Items []any  `json:"items"`
		Next  string `json:"next_cursor,omitempty"`
	}{make([]any, 0, len(page.Items)), page.Next}
	for i := range page.Items {
		if l := &page.Items[i]; withBody {
			answer.Items = append(answer.Items, letterStoryOf(l, true))
		} else {
			answer.Items = append(answer.Items, letterOf(l))
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// groupCauseJSON is one group of GET /v1/groups/{group}/dead-letters?group_by=cause.
type groupCauseJSON struct {
	Cause      string    `json:"cause"`
	Messages   int       `json:"messages"`
	Bytes      int64     `json:"bytes"`
	Topics     []string  `json:"topics"`
	MoreTopics int       `json:"more_topics,omitempty"`
	Oldest     wire.Time `json:"oldest_died_at"`
	Newest     wire.Time `json:"newest_died_at"`
	Example    string    `json:"example"` // the newest
}

func (a *api) groupCauses(w http.ResponseWriter, r *http.Request, g *deadletter.Group, f deadletter.GroupFilter) {
	all, err := g.Causes(r.Context(), f)
	if err != nil {
		a.refuseGroup(w, g, err)
		return
	}
	items := make([]groupCauseJSON, 0, len(all))
	for _, c := range all {
		items = append(items, groupCauseJSON{c.Cause, c.Messages, c.Bytes, c.Topics, c.More, wire.Time(c.Oldest), wire.Time(c.Newest), c.Example})
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
}

// groupLetter answers GET /v1/groups/{group}/dead-letters/{id}: with ?body=true with
// its body, which is for those who may change things.
func (a *api) groupLetter(w http.ResponseWriter, r *http.Request) {
	withBody, p := a.bodyWanted(r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	g, ok := a.group(w, r)
	if !ok {
		return
	}
	l, err := g.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		a.refuseGroup(w, g, err)
		return
	}
	writeJSON(w, http.StatusOK, letterStoryOf(&l, withBody))
}

// refuseGroup answers an error about a group's dead letters. What is not known to
// be otherwise is the broker's.
func (a *api) refuseGroup(w http.ResponseWriter, g *deadletter.Group, err error) {
	code := problem.BrokerUnavailable
	switch {
	case errors.Is(err, deadletter.ErrNoLetter):
		code = problem.NotFound
	case errors.Is(err, deadletter.ErrCursor):
		code = problem.InvalidOption
	case errors.Is(err, kv.ErrFenced):
		code = problem.SpoolReadOnly
	case errors.Is(err, kv.ErrClosed), errors.Is(err, context.Canceled):
		code = problem.Draining
	default:
		a.log.Warn("dead letters of a group cannot be read", "group", g.Name(), "error", err)
	}
	writeProblem(w, problem.New(code, "%s", err))
}
