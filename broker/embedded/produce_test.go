package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

func TestConfirmationsSayWhere(t *testing.T) {
	b := open(t, Options{Queues: 1})
	c := send(t, b, msgs(0, 3)...)
	for i := range c {
		if c[i].Offset != int64(i) || c[i].Queue != "embedded/0" || len(c[i].OffsetMessageID) != 32 || c[i].MessageID != msg(i).ID.String() {
			t.Errorf("confirmation %d = %+v", i, c[i])
		}
	}
	later := send(t, reopen(t, b), msg(3))[0]
	if later.Offset != 3 || later.OffsetMessageID <= c[2].OffsetMessageID {
		t.Errorf("after a restart: %+v follows %+v", later, c[2])
	}
}

func TestWhatIsSentIsWhatComes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	sent := []*message.Message{msg(0), msg(1), msg(2), msg(3)}
	sent[0].Tag, sent[0].Keys, sent[0].ContentType, sent[0].ContentEncoding = "t", []string{"k1", "k2"}, "text/plain", "gzip"
	sent[0].TraceParent, sent[0].TraceState = "00-aa-bb-01", "x=y"
	sent[0].Properties = []message.Property{{Name: "größe", Value: "ü\n"}}
	sent[1].Body = all
	sent[2].Body = bytes.Repeat(all, maxInline/256+1) // one chunk
	sent[3].Body = bytes.Repeat(all, message.MaxBody/256)

	b := open(t, Options{})
	for _, m := range sent {
		send(t, b, m)
	}
	b = reopen(t, b)
	r := consume(t, b, sub(), nil)
	for range sent {
		d := r.next()
		want := *sent[d.ID.Seq32()]
		want.Seq = 0
		if err := sameMessage(&d.Message, &want); err != nil {
			t.Errorf("message %s: %v", d.ID, err)
		}
		if d.Identity != d.ID.String() || d.Attempt != 1 || d.Group != "g" || d.Subscription != "s" || d.BornAt.IsZero() {
			t.Errorf("delivery of %s: %+v", d.ID, *d)
		}
	}
	r.stop()
}

func sameMessage(got, want *message.Message) error {
	switch a, b := *got, *want; {
	case !bytes.Equal(a.Body, b.Body):
		return errors.New("body differs")
	case !slices.Equal(a.Keys, b.Keys), !slices.Equal(a.Properties, b.Properties):
		return errors.New("keys or properties differ")
	default:
		a.Body, b.Body, a.Keys, b.Keys, a.Properties, b.Properties = nil, nil, nil, nil, nil, nil
		if x, y := message.AppendRecord(nil, &a), message.AppendRecord(nil, &b); !bytes.Equal(x, y) || !a.AcceptedAt.IsZero() {
			return errors.New("fields differ")
		}
	}
	return nil
}

func TestABatchLargerThanACommitIsStoredWhole(t *testing.T) {
	b := open(t, Options{})
	batch := msgs(0, 1000)
	for _, m := range batch {
		m.Body = bytes.Repeat([]byte{byte(m.Seq)}, 4000)
	}
	send(t, b, batch...)
	r := consume(t, reopen(t, b), sub(), nil)
	if seen := r.take(1000); len(seen) != 1000 {
		t.Errorf("%d different messages came, want 1000", len(seen))
	}
	r.stop()
}

func TestKeysStayOnOneQueueAndOthersTakeTurns(t *testing.T) {
	b := open(t, Options{Queues: 8})
	keyed, plain := map[string]bool{}, map[string]bool{}
	for n := range 16 {
		m := msg(n)
		m.OrderingKey = "customer-7"
		keyed[send(t, b, m)[0].Queue] = true
		plain[send(t, b, msg(100+n))[0].Queue] = true
	}
	if len(keyed) != 1 || len(plain) != 8 {
		t.Errorf("one key used %d queues, messages without one used %d; want 1 and 8", len(keyed), len(plain))
	}
	m := msg(1000)
	m.OrderingKey = "customer-7"
	if q := send(t, reopen(t, b), m)[0].Queue; !keyed[q] {
		t.Errorf("after a restart the key went to %s, before to %v", q, keyed)
	}
}

func TestRefusals(t *testing.T) {
	with := func(change func(*message.Message)) []*message.Message {
		m := msg(0)
		change(m)
		return []*message.Message{m}
	}
	tests := []struct {
		name   string
		msgs   []*message.Message
		status string
		parked bool
		want   message.Outcome
	}{
		{"body above 4 MiB", with(func(m *message.Message) { m.Body = make([]byte, 4<<20+1) }), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"no body", with(func(m *message.Message) { m.Body = nil }), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"properties above 32 KiB", with(func(m *message.Message) {
			m.Properties = []message.Property{{Name: "p", Value: strings.Repeat("x", 32<<10)}}
		}), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"illegal topic", with(func(m *message.Message) { m.Topic = "a b" }), "INVALID_PARAMETER", false, message.OutcomePermanent},
		{"no topic", with(func(m *message.Message) { m.Topic = "" }), "INVALID_PARAMETER", false, message.OutcomePermanent},
		{"long topic", with(func(m *message.Message) { m.Topic = strings.Repeat("x", 128) }), "INVALID_PARAMETER", false, message.OutcomePermanent},
		{"system topic", with(func(m *message.Message) { m.Topic = "TBW102" }), "INVALID_PARAMETER", false, message.OutcomePermanent},
		{"unknown topic", with(func(m *message.Message) { m.Topic = "nobody" }), "TOPIC_NOT_EXIST", true, message.OutcomeRetryable},
		{"two topics", append(with(func(m *message.Message) { m.Topic = "other" }), msg(1)), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"two keys", append(with(func(m *message.Message) { m.OrderingKey = "k" }), msg(1)), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"batch above 4 MiB", with2(3 << 20), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
		{"batch of too many", msgs(0, maxBatch+1), "MESSAGE_ILLEGAL", false, message.OutcomePermanent},
	}
	b := open(t, Options{FixedTopics: true})
	if err := b.CreateTopic(t.Context(), "orders", 2); err != nil {
		t.Fatal(err)
	}
	p := b.Producer()
	defer p.Close()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := p.Send(t.Context(), tt.msgs)
			requireSendError(t, err, tt.want, tt.status)
			if se := (*broker.SendError)(nil); errors.As(err, &se) && se.Parked != tt.parked {
				t.Errorf("parked = %v", se.Parked)
			}
		})
	}
	if s := b.Stats().Topics; len(s) != 1 || s["orders"].Stored != 0 || s["orders"].Queues != 2 {
		t.Errorf("refused messages left something: %+v", s)
	}
	send(t, b, msg(0))
}

func TestWhatAFailedCommitMeans(t *testing.T) {
	wrap := func(errs ...error) error { return fmt.Errorf("commit: %w", errors.Join(errs...)) }
	tests := []struct {
		err    error
		status string
		want   message.Outcome
	}{
		{wrap(kv.ErrUnknown, context.DeadlineExceeded), "TIMEOUT", message.OutcomeUnknown},
		{wrap(kv.ErrUnknown, kv.ErrFenced), "SYSTEM_ERROR", message.OutcomeUnknown},
		{wrap(kv.ErrFenced), "SERVICE_NOT_AVAILABLE", message.OutcomeRetryable},
		{wrap(kv.ErrClosed), "CONNECT", message.OutcomeRetryable},
		{wrap(context.Canceled), "TIMEOUT", message.OutcomeRetryable},
		{wrap(errNotStored, kv.ErrUnknown, context.Canceled), "TIMEOUT", message.OutcomeRetryable},
		{wrap(errNotStored, kv.ErrUnknown, kv.ErrFenced), "SERVICE_NOT_AVAILABLE", message.OutcomeRetryable},
	}
	for _, tt := range tests {
		requireSendError(t, sendError(tt.err), tt.want, tt.status)
	}
}

func with2(size int) []*message.Message {
	batch := msgs(0, 2)
	for _, m := range batch {
		m.Body = make([]byte, size)
	}
	return batch
}

func requireSendError(t *testing.T, err error, want message.Outcome, status string) *broker.SendError {
	t.Helper()
	var se *broker.SendError
	if !errors.As(err, &se) {
		t.Fatalf("error = %v, want a *SendError", err)
	}
	if se.Outcome != want || se.Status != status {
		t.Fatalf("error = %v, want %s (%s)", se, status, want)
	}
	return se
}

func TestADoneContextSendsNothing(t *testing.T) {
	b := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Producer().Send(ctx, msgs(0, 1))
	requireSendError(t, err, message.OutcomeRetryable, "TIMEOUT")
	if n := b.Stats().Topics["orders"].Stored; n != 0 {
		t.Errorf("%d stored", n)
	}
}

func TestClosed(t *testing.T) {
	b := open(t, Options{})
	p := b.Producer()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := p.Send(t.Context(), msgs(0, 1))
	if requireSendError(t, err, message.OutcomeRetryable, "CLOSED"); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("error = %v, want ErrClosed", err)
	}
	p = b.Producer()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = p.Send(t.Context(), msgs(0, 1))
	requireSendError(t, err, message.OutcomeRetryable, "CONNECT")
}

func TestCopiesAreCounted(t *testing.T) {
	b := open(t, Options{})
	for range 3 {
		send(t, b, msg(1))
	}
	send(t, b, msg(2))
	b = reopen(t, b)
	for id, want := range map[message.ID]int{msg(1).ID: 3, msg(2).ID: 1, msg(3).ID: 0} {
		if n, err := b.Copies(id); n != want || err != nil {
			t.Errorf("copies of %s = %d, %v, want %d", id, n, err, want)
		}
	}
	if s := b.Stats().Topics["orders"]; s.Stored != 4 || s.Repeats != 2 || s.Kept != 4 {
		t.Errorf("stats = %+v", s)
	}
}

func TestPayloadsWithoutAMessageAreSweptAtOpen(t *testing.T) {
	b := open(t, Options{})
	enc := &encoder{b: b}
	m := msg(1)
	m.Body = make([]byte, 1<<20)
	enc.entry(m)
	if err := enc.flush(t.Context()); err != nil { // and then it crashes
		t.Fatal(err)
	}
	m = msg(2)
	m.Body = make([]byte, 1<<20)
	send(t, b, m)
	b = reopen(t, b)
	if _, err := b.db.Get(chunkKey(1, 0)); err == nil {
		t.Error("the orphan is still there")
	}
	if b.units.Load() != 2 {
		t.Errorf("last unit = %d, want 2", b.units.Load())
	}
	r := consume(t, b, sub(), nil)
	if d := r.next(); len(d.Body) != 1<<20 {
		t.Errorf("body has %d bytes", len(d.Body))
	}
	r.stop()
}

// TestNoRoomIsTriedAgain: nothing is stored while the volume has no room.
func TestNoRoomIsTriedAgain(t *testing.T) {
	full := errors.New("1 MiB is free")
	why := full
	b := open(t, Options{Room: func() error { return why }})
	p := b.Producer()
	_, err := p.Send(t.Context(), msgs(0, 2))
	var se *broker.SendError
	if !errors.As(err, &se) || !errors.Is(err, full) || se.Outcome != message.OutcomeRetryable || se.Stored {
		t.Fatalf("%+v", err)
	}
	why = nil
	if c, err := p.Send(t.Context(), msgs(0, 2)); err != nil || c[1].Offset+c[0].Offset != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
