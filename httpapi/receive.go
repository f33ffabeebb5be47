package httpapi

import (
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
)

// Defaults and bounds of a receive.
const (
	receiveMax   = 10
	receiveMost  = 100
	receiveLease = 60 * time.Second
)

// pulledJSON is a message that was pulled.
type pulledJSON struct {
	ID             string      `json:"id"`
	LeaseExpiresAt wire.Time   `json:"lease_expires_at"`
	Message        messageJSON `json:"message"`
}

// messageJSON is what a handler gets as headers and body.
type messageJSON struct {
	ID              string            `json:"id"`
	BrokerMessageID string            `json:"broker_message_id,omitempty"`
	Topic           string            `json:"topic"`
	Group           string            `json:"group"`
	Tag             string            `json:"tag,omitempty"`
	Keys            []string          `json:"keys,omitempty"`
	OrderingKey     string            `json:"ordering_key,omitempty"`
	Properties      map[string]string `json:"properties,omitempty"`
	ContentType     string            `json:"content_type,omitempty"`
	ContentEncoding string            `json:"content_encoding,omitempty"`
	TraceParent     string            `json:"traceparent,omitempty"`
	TraceState      string            `json:"tracestate,omitempty"`
	BornAt          *wire.Time        `json:"born_at,omitempty"`
	Attempt         int               `json:"attempt"`
	MaxAttempts     int               `json:"max_attempts,omitempty"`
	IdempotencyKey  string            `json:"idempotency_key"`
	Dedupe          string            `json:"dedupe,omitempty"`
	Origin          string            `json:"origin,omitempty"`
	TopicSequence   uint64            `json:"topic_sequence,omitempty"`
	Body            []byte            `json:"body_base64"`
}

// receiveMessages answers POST /v1/subscriptions/{name}/receive. Shutdown ends its
// wait, and so does a caller that hangs up: nothing is handed over to who is gone.
func (s *Server) receiveMessages(r *request, name string) (response, error) {
	p := ackgate.Pull{Max: receiveMax, Lease: receiveLease}
	_, err := readWishes(r, map[string]any{"max": &p.Max, "wait": &p.Wait, "lease": &p.Lease})
	switch {
	case err != nil:
		return response{}, err
	case p.Max < 1 || p.Max > receiveMost:
		return response{}, invalidOption("max is %d; from 1 to %d messages can be received at once", p.Max, receiveMost)
	case p.Lease <= 0:
		return response{}, invalidOption("a lease of %v ends before it begins", p.Lease)
	}
	p.Wait = min(p.Wait, s.opts.MaxWait)
	ctx, end := r.body.conn.attend(s.waits)
	defer end()
	p.Gone = r.body.conn.hungUp
	pulled, err := s.opts.Deliveries.Receive(ctx, name, p)
	if err != nil {
		return response{}, err
	}
	if !r.body.conn.handOver(s.opts.Deliveries, pulled) {
		return s.nothingPulled(name), nil
	}
	answer := struct {
		Deliveries []pulledJSON `json:"deliveries"`
	}{make([]pulledJSON, len(pulled))}
	for i, one := range pulled {
		answer.Deliveries[i] = pulledJSON{ID: one.ID, LeaseExpiresAt: wire.Time(one.ExpiresAt), Message: messageOf(one)}
	}
	return s.jsonResponse(200, answer), nil
}

// nothingPulled says, beside that there was none, why none is handed over.
func (s *Server) nothingPulled(name string) response {
	r := response{status: 204}
	if why := s.opts.Deliveries.HeldUp(name); len(why) > 0 {
		r.set("MQ-Subscription-State", string(why[0].Cause))
	}
	return r
}

func messageOf(p ackgate.Pulled) messageJSON {
	d := p.Delivery
	m := messageJSON{
		ID: d.Identity, BrokerMessageID: d.BrokerMessageID, Topic: d.Topic, Group: d.Group,
		Tag: d.Tag, Keys: d.Keys, OrderingKey: d.OrderingKey, Properties: propertyMap(d.Properties),
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, TraceParent: d.TraceParent, TraceState: d.TraceState,
		Attempt: p.Attempt, MaxAttempts: p.MaxAttempts, IdempotencyKey: d.Identity, TopicSequence: d.TopicSeq, Body: d.Body,
	}
	if !d.ID.IsZero() {
		m.ID = d.ID.String()
	}
	if p.Unchecked {
		m.Dedupe = "unchecked"
	}
	if d.TopicSeq > 0 {
		m.Origin = d.ID.Spool().String()
	}
	m.BornAt = wire.OptionalTime(d.BornAt)
	if m.Body == nil {
		m.Body = []byte{} // "", not null
	}
	return m
}

func propertyMap(all []message.Property) map[string]string {
	if len(all) == 0 {
		return nil
	}
	m := make(map[string]string, len(all))
	for _, p := range all {
		m[p.Name] = p.Value
	}
	return m
}
