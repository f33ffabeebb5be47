package httpapi

import (
	"cmp"
	"context"
	"errors"

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
	p.Topic = topic
	if p.media == typeCloudEventBatch {
		return s.publishEvents(r, p)
	}
	if p.Body, err = r.body.read(s.opts.MaxMessage, messageTooLarge); err != nil {
		return response{}, err
	}
	if err = verify(p.digests, p.Body); err != nil {
		return response{}, err
	}
	if err = s.draft(p); err != nil {
		return response{}, err
	}
	receipts, err := s.store(r, r.drafts[:])
	if err != nil {
		return response{}, alone(err)
	}
	return s.answerPublish(r, &receipts[0]), nil
}

func messageTooLarge(limit int) error {
	return problem.New(problem.MessageTooLarge, "the body has more than %d bytes", limit).WithLimit(int64(limit))
}

// draft validates what is to be published and completes its draft.
func (s *Server) draft(p *publication) error {
	m := &p.Message
	switch {
	case p.media == typeCloudEvent:
		derived, err := structuredEvent(m.Body)
		if err != nil {
			return err
		}
		p.DedupeKey = cmp.Or(p.DedupeKey, derived)
	case p.cloudEvent != nil:
		p.DedupeKey = cmp.Or(p.DedupeKey, eventKey(attribute(p.cloudEvent, "source"), attribute(p.cloudEvent, "id")))
		if len(m.Body) == 0 {
			if err := asStructured(m, p.cloudEvent); err != nil {
				return err
			}
			p.cloudEvent = nil
		}
	}
	if err := m.Validate(s.opts.MaxMessage); err != nil {
		return err
	}
	if err := s.topics.check(m.Topic); err != nil {
		return err
	}
	if err := m.SetCloudEvent(p.cloudEvent); err != nil {
		return err
	}
	if p.DedupeKey != "" {
		p.Fingerprint = fingerprint(m, p.delay, p.deliverAt, p.ttl)
	}
	return p.schedule()
}

// store makes drafts durable, and clears them then: the client may wait long for its
// answer. The bytes of the body stop counting against the budget, because from here
// the spool bounds them.
func (s *Server) store(r *request, drafts []spool.Draft) ([]message.Receipt, error) {
	if err := s.topics.admit(drafts, r.began); err != nil {
		return nil, err
	}
	r.kept = true
	receipts, err := s.spool.Append(s.patience.context(), drafts)
	r.body.release()
	if err != nil {
		return nil, err
	}
	r.kept = false
	clear(drafts)
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
func (s *Server) answerPublish(r *request, stored *message.Receipt) response {
	now, p := stored, &r.asked
	if p.wait > 0 {
		now = s.await(stored, p)
	}
	receipt := s.receiptOf(now)
	body := append(receipt.appendJSON(r.answer[:0]), '\n')
	r.answer = appendLocation(body, stored.ID)
	res := response{status: 202, contentType: typeJSON, body: body, location: r.answer[len(body):]}
	if p.wait > 0 && now.State == message.StateConfirmed {
		res.status = 200
		res.set("Preference-Applied", "wait")
	}
	if stored.Duplicate {
		res.set("Idempotency-Replayed", "true")
	}
	return res
}

// appendLocation appends the path of a message's receipt.
func appendLocation(b []byte, id message.ID) []byte { return id.Append(append(b, "/v1/messages/"...)) }

// await waits for the broker's confirmation as long as the client wished.
func (s *Server) await(stored *message.Receipt, p *publication) *message.Receipt {
	ctx, cancel := context.WithTimeout(s.waits, min(p.wait, s.opts.MaxWait))
	defer cancel()
	now, err := s.spool.Wait(ctx, stored.ID)
	if err != nil {
		return stored
	}
	now.Duplicate = stored.Duplicate
	return &now
}
