package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// publishBatch answers POST /v1/messages:batch.
func (s *Server) publishBatch(r *request, _ string) (response, error) {
	if err := noOptions(r); err != nil {
		return response{}, err
	}
	each, err := splitter(mediaType(r.fields.get(nameContentType)))
	if err != nil {
		return response{}, err
	}
	if err = uncompressed(r.fields.list(nameContentEncoding)); err != nil {
		return response{}, err
	}
	text, err := s.readBatch(r)
	if err != nil {
		return response{}, err
	}
	b := &batch{limit: s.opts.MaxBatchMessages}
	err = each(text, func(element json.RawMessage) error {
		return b.add(func(d *spool.Draft) error {
			p, err := parseItem(d, element)
			if err != nil {
				return err
			}
			p.TraceParent, p.TraceState = r.fields.get(nameTraceParent), r.fields.list(nameTraceState)
			return s.draft(&p)
		})
	})
	if err != nil {
		return response{}, err
	}
	return s.storeBatch(r, b)
}

// splitter returns what cuts a batch of a media type into its items.
func splitter(media string) (func([]byte, func(json.RawMessage) error) error, error) {
	switch media {
	case typeJSON:
		return parseArray, nil
	case "application/x-ndjson", "application/ndjson":
		return parseLines, nil
	}
	return nil, problem.New(problem.UnsupportedMedia, "a batch has Content-Type application/json (an array) or application/x-ndjson, not %.100q", media)
}

// publishEvents answers a batch of CloudEvents. Options of the request go to
// each of them.
func (s *Server) publishEvents(r *request, p *publication) (response, error) {
	if p.DedupeKey != "" {
		return response{}, invalidOption("one Idempotency-Key cannot stand for a batch; each event is known by its source and id")
	}
	if len(r.query["wait"]) > 0 { // Prefer may be left out of account, says its RFC
		return response{}, invalidOption("the query parameter \"wait\" says nothing about a batch, which is answered when it is stored")
	}
	text, err := s.readBatch(r)
	if err != nil {
		return response{}, err
	}
	p.ContentType, p.media = typeCloudEvent, typeCloudEvent
	b := &batch{limit: s.opts.MaxBatchMessages}
	err = parseArray(text, func(element json.RawMessage) error {
		return b.add(func(d *spool.Draft) error {
			event := *p
			event.Draft, *d = d, *p.Draft
			d.Body = bytes.Clone(element) // one does not keep all of them in memory
			return s.draft(&event)
		})
	})
	if err != nil {
		return response{}, err
	}
	return s.storeBatch(r, b)
}

func (s *Server) readBatch(r *request) ([]byte, error) {
	var p publication
	if err := readDigests(r, &p); err != nil {
		return nil, err
	}
	text, err := r.body.read(s.opts.MaxBatchBytes, func(limit int) error {
		return problem.New(problem.BatchTooLarge, "the batch has more than %d bytes", limit).WithLimit(int64(limit))
	})
	if err == nil {
		err = verify(p.digests, text)
	}
	if err == nil {
		err = validText(text)
	}
	return text, err
}

// batch gathers the items of a request. All of them are looked at, so that one
// answer names all that are at fault.
type batch struct {
	limit  int
	drafts []spool.Draft
	faults []problem.Item
}

// add has one draft made. Its error ends the batch; a fault of the item does not.
func (b *batch) add(draft func(*spool.Draft) error) error {
	index := len(b.drafts)
	if index == b.limit {
		return problem.New(problem.BatchTooLarge, "the batch has more than %d messages", b.limit).WithLimit(int64(b.limit))
	}
	b.drafts = append(b.drafts, spool.Draft{})
	if err := draft(&b.drafts[index]); err != nil {
		p := problemOf(err)
		b.faults = append(b.faults, problem.Item{Index: index, Code: p.Code, Detail: p.Detail})
		b.drafts[index] = spool.Draft{}
	}
	return nil
}

// check finds what only the whole batch shows.
func (b *batch) check() error {
	if len(b.drafts) == 0 {
		return problem.New(problem.EmptyBatch, "the batch has no messages")
	}
	type scope struct{ topic, key string }
	seen := map[scope]int{}
	for i, d := range b.drafts {
		k := scope{d.Topic, d.DedupeKey}
		first, twice := seen[k]
		if d.DedupeKey != "" && twice {
			p := problem.New(problem.DuplicateKey, "the same topic and idempotency key stand at index %d", first)
			b.faults = append(b.faults, problem.Item{Index: i, Code: p.Code, Detail: p.Detail})
		}
		if !twice {
			seen[k] = i
		}
	}
	return b.refusal()
}

// refusal returns one problem for all faults: of their code when they share
// one, of invalid-batch otherwise.
func (b *batch) refusal() error {
	if len(b.faults) == 0 {
		return nil
	}
	code := b.faults[0].Code
	for _, f := range b.faults {
		if f.Code != code {
			code = problem.InvalidBatch
		}
	}
	p := problem.New(code, "%d of %d messages are at fault; nothing was stored. The first, at index %d: %s",
		len(b.faults), len(b.drafts), b.faults[0].Index, b.faults[0].Detail)
	p.Items = b.faults
	return p
}

func (s *Server) storeBatch(r *request, b *batch) (response, error) {
	if err := b.check(); err != nil {
		return response{}, err
	}
	receipts, err := s.store(r, b.drafts)
	if err != nil {
		return response{}, b.blame(err)
	}
	return s.answerBatch(receipts), nil
}

// blame puts a fault that only the spool could see under its index.
func (b *batch) blame(err error) error {
	d, ok := errors.AsType[*spool.DraftError](err)
	if !ok {
		return err
	}
	p := problemOf(d.Err)
	b.faults = []problem.Item{{Index: d.Index, Code: p.Code, Detail: p.Detail}}
	return b.refusal()
}

func (s *Server) answerBatch(receipts []message.Receipt) response {
	answer := struct {
		Messages []receiptJSON `json:"messages"`
	}{make([]receiptJSON, len(receipts))}
	for i := range receipts {
		answer.Messages[i] = s.receiptOf(&receipts[i])
	}
	return s.jsonResponse(202, answer)
}
