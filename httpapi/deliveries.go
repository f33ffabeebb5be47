package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
)

// Deliveries is what the listener needs of the deliveries in the application's
// hands; *ackgate.Leases has it.
type Deliveries interface {
	// Find tells of a delivery.
	Find(id string) (ackgate.Lease, error)
	// Ack says that a delivery is done, also again; late, after its lease.
	Ack(ctx context.Context, id string) (late bool, err error)
	// Nack gives the message back.
	Nack(id string, n ackgate.Nack) error
	// Extend makes the lease end d from now, or sooner; the answer tells.
	Extend(ctx context.Context, id string, d time.Duration) (ackgate.Lease, error)
	// Receive leases messages of a subscription without a handler to the caller,
	// and waits for the first.
	Receive(ctx context.Context, subscription string, p ackgate.Pull) ([]ackgate.Pulled, error)
	// TakeBack gives a message back whose delivery the caller did not come to know.
	TakeBack(id string)
	// HeldUp tells why nothing of a subscription is handed over now.
	HeldUp(subscription string) []ackgate.HeldUp
}

// deliveryProblems map errors of deliveries to problems. Those of the store come
// before its own.
var deliveryProblems = problems{
	{ackgate.ErrStarting, problem.Starting, "the subscriptions are not there yet; deliveries of before the restart are gone, and their messages come again"},
	{ackgate.ErrUnknownSubscription, problem.UnknownSubscription, "no subscription of that name is configured"},
	{ackgate.ErrPushed, problem.HasHandler, "its messages cannot be pulled"},
	{ackgate.ErrStopping, problem.Draining, "the sidecar is stopping and hands nothing over any more"},
	{ackgate.ErrUnknownDelivery, problem.UnknownDelivery, "no delivery of this ID is known: it is wrong, or of before a restart, or it ended long ago"},
	{ackgate.ErrLeaseExpired, problem.LeaseExpired, "the message went to another delivery, or was given back for one"},
	{ackgate.ErrAcked, problem.AlreadyAcked, "the delivery was acked before; its message does not come again"},
	{dedupe.ErrClosed, problem.Draining, "the sidecar is stopping and does not record it any more"},
	{ackgate.ErrNotRecorded, problem.DedupeUnavailable, "the dedupe store does not record it; nothing was done"},
}

// deliveryJSON is what is told of a delivery.
type deliveryJSON struct {
	ID             string     `json:"id"`
	MessageID      string     `json:"message_id,omitempty"`
	State          string     `json:"state"`
	Late           bool       `json:"late,omitempty"`
	Lease          string     `json:"lease,omitempty"`
	LeaseExpiresAt *wire.Time `json:"lease_expires_at,omitempty"`
}

func deliveryOf(l ackgate.Lease) deliveryJSON {
	d := deliveryJSON{ID: l.ID, MessageID: l.MessageID, State: l.State}
	if !l.ExpiresAt.IsZero() {
		d.LeaseExpiresAt, d.Lease = wire.OptionalTime(l.ExpiresAt), max(time.Until(l.ExpiresAt), 0).Round(time.Millisecond).String()
	}
	return d
}

// delivery answers GET /v1/deliveries/{id}.
func (s *Server) delivery(_ *request, id string) (response, error) {
	l, err := s.opts.Deliveries.Find(id)
	if err != nil {
		return response{}, err
	}
	return s.jsonResponse(200, deliveryOf(l)), nil
}

// ack answers POST /v1/deliveries/{id}/ack. Once it is answered, the message comes
// to no handler again within the dedupe window.
func (s *Server) ack(r *request, id string) (response, error) {
	if _, err := readWishes(r, nil); err != nil {
		return response{}, err
	}
	late, err := s.opts.Deliveries.Ack(s.work, id)
	if err != nil {
		return response{}, err
	}
	return s.jsonResponse(200, deliveryJSON{ID: id, State: "acked", Late: late}), nil
}

// mostDelay is the longest that RocketMQ keeps what it took back.
const mostDelay = 2 * time.Hour

// nack answers POST /v1/deliveries/{id}/nack.
func (s *Server) nack(r *request, id string) (response, error) {
	n := ackgate.Nack{Delay: -1}
	_, err := readWishes(r, map[string]any{"delay": &n.Delay, "dead_letter": &n.DeadLetter})
	switch {
	case err != nil:
		return response{}, err
	case n.Delay > mostDelay:
		return response{}, invalidOption("the delay %v is longer than %v, the longest that a broker offers", n.Delay, mostDelay)
	}
	if err := s.opts.Deliveries.Nack(id, n); err != nil {
		return response{}, err
	}
	return s.jsonResponse(200, deliveryJSON{ID: id, State: "nacked"}), nil
}

// extend answers POST /v1/deliveries/{id}/extend.
func (s *Server) extend(r *request, id string) (response, error) {
	var lease time.Duration
	given, err := readWishes(r, map[string]any{"lease": &lease})
	switch {
	case err != nil:
		return response{}, err
	case !given["lease"] || lease <= 0:
		return response{}, invalidOption(`say how long the lease shall go on, as {"lease":"60s"}`)
	}
	l, err := s.opts.Deliveries.Extend(s.work, id, lease)
	if err != nil {
		return response{}, err
	}
	return s.jsonResponse(200, deliveryOf(l)), nil
}

// maxWishes bounds a body of a few options.
const maxWishes = 4 << 10

// readWishes reads a JSON object of options, or nothing, into *time.Duration,
// *bool and *int. null is as if it were not there.
func readWishes(r *request, into map[string]any) (given map[string]bool, err error) {
	for name := range r.query {
		return nil, invalidOption("the query parameter %.100q says nothing here; put it into the JSON of the body", name)
	}
	text, err := r.body.read(maxWishes, func(limit int) error {
		return problem.New(problem.MessageTooLarge, "the options have more than %d bytes", limit).WithLimit(int64(limit))
	})
	if err != nil || len(text) == 0 {
		return nil, err
	}
	if media := mediaType(r.fields.get(nameContentType)); media != "" && media != typeJSON {
		return nil, problem.New(problem.UnsupportedMedia, "options are application/json, not %.100q", media)
	}
	members, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	given = map[string]bool{}
	for _, m := range members {
		to, known := into[m.name]
		if !known {
			return nil, invalidOption("there is no option %.100q here", m.name)
		}
		if string(m.value) == "null" {
			continue
		}
		if err := readWish(m, to); err != nil {
			return nil, err
		}
		given[m.name] = true
	}
	return given, nil
}

func readWish(m member, to any) error {
	if s, isText := to.(*string); isText && plainString(m.value) {
		*s, _ = stringOf(m.value)
		return nil
	}
	d, isDuration := to.(*time.Duration)
	if !isDuration {
		if json.Unmarshal(m.value, to) != nil {
			return invalidOption("%s is of the wrong type", m.name)
		}
		return nil
	}
	text, err := stringOf(m.value)
	if err != nil {
		return invalidOption(`%s is a duration with its unit in quotes, as "30s"`, m.name)
	}
	parsed, err := parseDuration(text)
	*d = parsed
	return err
}
