package httpapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// problems tell clients of errors; the first that fits does.
type problems []struct {
	err    error
	code   string
	detail string
}

// of is nil for an error that is none of them.
func (all problems) of(err error) *problem.Problem {
	for _, known := range all {
		if errors.Is(err, known.err) {
			return problem.New(known.code, "%s", known.detail)
		}
	}
	return nil
}

// spoolProblems is the one place that maps errors of the spool to problems.
var spoolProblems = problems{
	{spool.ErrReadOnly, problem.SpoolReadOnly, "an earlier sync failed, or damage was met; the spool takes nothing more until the sidecar is restarted"},
	{spool.ErrFull, problem.SpoolFull, "the spool has reached its high-water mark"},
	{spool.ErrTopicFull, problem.TopicFull, "the topic holds as much as one may (spool.topic_share)"},
	{spool.ErrDiskLow, problem.DiskLow, "the volume has less free space than has to stay free (spool.reserve)"},
	{spool.ErrBusy, problem.Busy, "the disk does not take messages in time: a write has stalled, or too much waits for it"},
	{spool.ErrTooLarge, problem.BatchTooLarge, "the messages can never be stored together; send them in several batches"},
	{spool.ErrTooManyTopics, problem.TooManyTopics, "the limit of topics is reached (topics.max)"},
	{spool.ErrClosed, problem.Draining, "the spool is closing"},
	{spool.ErrKeyReused, problem.KeyReused, "this idempotency key was accepted before with another body or other options"},
	{spool.ErrKeySettled, problem.KeySettled, "the message accepted under this idempotency key was cancelled or discarded"},
	{spool.ErrNoTransaction, problem.UnknownTransaction, "no transaction of that ID is open, nor kept since it was decided"},
	{spool.ErrTransactionExists, problem.TransactionConflict, "the id is that of another transaction, with other content; nothing was stored"},
	{spool.ErrDecided, problem.TransactionConflict, "a transaction of that id was rolled back, which stands; nothing was stored"},
	{spool.ErrWrongState, problem.WrongState, "the message's transaction is undecided, or a broker has it as a half message; decide that"},
	{spool.ErrNotFound, problem.NotFound, "no such message is held, and no receipt of it is kept"},
	{spool.ErrAlreadySent, problem.AlreadySent, "the message is in flight or settled"},
	{spool.ErrMaybeSent, problem.MaybeSent, "an attempt to send the message ended unknown"},
	{context.DeadlineExceeded, problem.Busy, "the disk did not take the message in time"},
	{context.Canceled, problem.Draining, "the sidecar is stopping, and does not wait for the disk"},
}

// problemOf turns any error into the problem that the client is told.
func problemOf(err error) *problem.Problem {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	if invalid, ok := errors.AsType[*message.Invalid](err); ok {
		return problem.New(invalid.Code, "%s", invalid.Detail).WithLimit(invalid.Limit)
	}
	if large, ok := errors.AsType[*spool.TooLargeError](err); ok {
		return problem.New(problem.BatchTooLarge, "the messages have %d bytes of %s, and %d are the most", large.Size, large.What, large.Most).WithLimit(large.Most)
	}
	if errors.Is(err, spool.ErrUnknown) { // first: it unsays the others' "nothing was stored"
		return unknownProblem(err)
	}
	for _, known := range []problems{deliveryProblems, spoolProblems} {
		if p := known.of(err); p != nil {
			return p
		}
	}
	p := problem.New(problem.Internal, "the request met an error nobody foresaw; the sidecar's log has it")
	p.Cause = err
	return p
}

func unknownProblem(err error) *problem.Problem {
	if errors.Is(err, spool.ErrKeyDamaged) {
		p := problem.New(problem.SpoolReadOnly, "what tells whether this idempotency key was accepted before is damaged: the message may or may not be stored, and other messages are taken; "+
			"the next start of the sidecar gives up what is damaged, and a repeat may be taken for a new message then")
		p.Stored = problem.StoredUnknown
		return p
	}
	code, why := problem.SpoolReadOnly, "the write failed or did not end in time"
	for _, known := range spoolProblems {
		if errors.Is(err, known.err) {
			code, why = known.code, known.detail
			break
		}
	}
	p := problem.New(code, "%s; the message may or may not be stored, and repeating it with its idempotency key is safe", why)
	p.Stored = problem.StoredUnknown
	return p
}

// detailOf returns what a refusal says in detail.
func detailOf(err error) string { return problemOf(err).Detail }

// refuse makes the answer of an error.
func (s *Server) refuse(err error) response {
	p := problemOf(err)
	if p.Code == problem.Internal {
		s.opts.Log.Error("request failed", "error", p.Error())
	}
	if p.RetryAfter == 0 && p.Status == 503 {
		p.RetryAfter = s.retryAfter(p.Code, fullTopic(err))
	}
	res := response{status: p.Status, contentType: problem.ContentType, body: p.JSON()}
	if p.RetryAfter > 0 {
		res.set("Retry-After", strconv.Itoa(p.RetryAfterSeconds()))
	}
	if p.Allow != "" {
		res.set("Allow", p.Allow)
	}
	if p.Code == problem.Unauthorized {
		res.set("WWW-Authenticate", `Bearer realm="remora"`)
	}
	return res
}

// fullTopic is the topic that is full, if that is why.
func fullTopic(err error) string {
	if full, ok := errors.AsType[*spool.TopicFullError](err); ok {
		return full.Topic
	}
	return ""
}

// retryAfter is how long the cause of a 503 lasts, jittered.
func (s *Server) retryAfter(code, topic string) time.Duration {
	wait := 30 * time.Second
	switch code {
	case problem.Busy:
		wait = 2 * time.Second // as long as a few requests take
	case problem.Draining, problem.Starting:
		wait = 5 * time.Second // as long as a restart takes
	case problem.SpoolFull, problem.TopicFull, problem.DiskLow:
		if measured := s.opts.RetryAfter(code, topic); measured > 0 {
			wait = min(measured, time.Minute)
		}
	}
	return jittered(wait)
}

// jittered is wait by half more or less, from 1 to 60 s, so that clients refused
// together do not come back together.
func jittered(wait time.Duration) time.Duration {
	return min(max(wait/2+rand.N(wait), time.Second), time.Minute)
}
