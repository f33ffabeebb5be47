package httpapi

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// publish answers POST /v1/topics/{topic}/messages.
func (s *Server) publish(r *request, topic string) (response, error) {
	if e := message.ValidTopic(topic); e != nil {
		return response{}, e
	}
	p, err := r.publication()
	if err != nil {
		return response{}, err
	}
	p.message.Topic = topic
	if mediaType(p.message.ContentType) == typeCloudEventBatch {
		return s.publishEvents(r, p)
	}
	if p.message.Body, err = r.body.read(s.opts.MaxMessage, messageTooLarge); err != nil {
		return response{}, err
	}
	if err = verify(p.digests, p.message.Body); err != nil {
		return response{}, err
	}
	draft, err := s.draft(p)
	if err != nil {
		return response{}, err
	}
	receipts, err := s.store(r, []spool.Draft{draft})
	if err != nil {
		return response{}, alone(err)
	}
	return s.answerPublish(receipts[0], p), nil
}

func messageTooLarge(limit int) error {
	return problem.New(problem.MessageTooLarge, "the body has more than %d bytes", limit).WithLimit(int64(limit))
}

// draft validates a message and gives it its dedupe key.
func (s *Server) draft(p *publication) (spool.Draft, error) {
	m := p.message
	key := p.key
	switch {
	case mediaType(m.ContentType) == typeCloudEvent:
		derived, err := structuredEvent(m.Body)
		if err != nil {
			return spool.Draft{}, err
		}
		key = orKey(key, derived)
	case p.cloudEvent != nil:
		key = orKey(key, eventKey(attribute(p.cloudEvent, "source"), attribute(p.cloudEvent, "id")))
		if len(m.Body) == 0 {
			asStructured(&m, p.cloudEvent)
			p.cloudEvent = nil
		}
	}
	if err := m.Validate(s.opts.MaxMessage); err != nil {
		return spool.Draft{}, err
	}
	if err := s.topics.check(m.Topic); err != nil {
		return spool.Draft{}, err
	}
	if err := m.SetCloudEvent(p.cloudEvent); err != nil {
		return spool.Draft{}, err
	}
	draft := spool.Draft{Message: m, DedupeKey: key}
	if key != "" {
		draft.Fingerprint = fingerprint(&m, p.delay, p.deliverAt, p.ttl)
	}
	return draft, p.schedule(&draft)
}

func orKey(given, derived string) string {
	if given != "" {
		return given
	}
	return derived
}

// store makes drafts durable. The bytes of the body stop counting against the
// budget, because from here the spool bounds them.
func (s *Server) store(r *request, drafts []spool.Draft) ([]message.Receipt, error) {
	if err := s.topics.admit(drafts, r.began); err != nil {
		return nil, err
	}
	receipts, err := s.spool.Append(s.patience.context(time.Now()), drafts)
	r.body.release()
	if err != nil {
		return nil, err
	}
	s.metrics.accepted(r.began)
	return receipts, nil
}

// alone leaves out which draft is at fault, where there is only one.
func alone(err error) error {
	if large, ok := errors.AsType[*spool.TooLargeError](err); ok {
		return problem.New(problem.MessageTooLarge, "the message has %d bytes of %s, and %d are the most", large.Size, large.What, large.Most).WithLimit(large.Most)
	}
	if d, ok := errors.AsType[*spool.DraftError](err); ok {
		return d.Err
	}
	return err
}

// answerPublish answers a message that is stored; from here nothing is an error.
func (s *Server) answerPublish(stored message.Receipt, p *publication) response {
	now := stored
	if p.wait > 0 {
		now = s.await(stored, p)
	}
	receipt := s.receiptOf(now)
	body := receipt.appendJSON(make([]byte, 0, 320))
	res := response{status: 202, contentType: typeJSON, body: append(body, '\n')}
	if p.wait > 0 && now.State == message.StateConfirmed {
		res.status = 200
		res.set("Preference-Applied", "wait")
	}
	res.set("Location", location(stored.ID))
	if stored.Duplicate {
		res.set("Idempotency-Replayed", "true")
	}
	return res
}

// location is the path of a message's receipt.
func location(id message.ID) string {
	const path = "/v1/messages/"
	var room [len(path) + 2*len(id)]byte
	return string(id.Append(append(room[:0], path...)))
}

// await waits for the broker's confirmation as long as the client wished.
func (s *Server) await(stored message.Receipt, p *publication) message.Receipt {
	ctx, cancel := context.WithTimeout(s.waits, min(p.wait, s.opts.MaxWait))
	defer cancel()
	now, err := s.spool.Wait(ctx, stored.ID)
	if err != nil {
		return stored
	}
	now.Duplicate = stored.Duplicate
	return now
}
