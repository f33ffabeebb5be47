package spool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// logical is all that a spool tells of its messages: bytes and states of those
// that are held, receipts, counters, exceptions.
type logical struct {
	held       map[message.ID]string // as it stands in an export
	seqs       map[message.ID]uint32 // that it has, or had: not that of its ID, if it was delayed
	receipts   map[message.ID]receipt
	topics     map[string]spool.Counts
	total      spool.Counts
	exceptions map[string]string
	balanced   bool
	missing    []uint64
}

type receipt struct {
	state message.State
	text  string
}

// ofItsKey is what a line has of a message's idempotency key: that has an entry of
// its own, which may be lost without the message.
var ofItsKey = regexp.MustCompile(`"crc32c":"[^"]*",|"idempotency":{[^}]*},`)

// ofALetter finds what a report says of the entry of a dead letter.
var ofALetter = regexp.MustCompile(`dead letter of topic \d+ from sequence (\d+)`)

// logicalOf reads everything; of the messages it asks for the receipts of ids.
// An error is that of a read which met a damaged table.
func logicalOf(t testing.TB, s *spool.Spool, ids []message.ID) (l logical, err error) {
	t.Helper()
	defer func() {
		if err != nil && !errors.Is(err, kv.ErrDamaged) {
			t.Error(err)
		}
	}()
	l = logical{held: map[message.ID]string{}, seqs: map[message.ID]uint32{}, receipts: map[message.ID]receipt{}, exceptions: map[string]string{}}
	var out bytes.Buffer
	if _, err := s.Export(t.Context(), &out, spool.Query{}); err != nil {
		return l, err
	}
	for line := range bytes.Lines(out.Bytes()) {
		l.takeTransaction(line)
		var x struct {
			Message *struct {
				ID message.ID `json:"id"`
			} `json:"message"`
		}
		if err := json.Unmarshal(line, &x); err == nil && x.Message != nil {
			if first, twice := l.held[x.Message.ID]; twice && !strings.Contains(first, `"state":"delayed"`) { // else it was due meanwhile
				t.Errorf("%s is held twice", x.Message.ID)
			}
			l.held[x.Message.ID] = ofItsKey.ReplaceAllString(string(line), "")
		}
	}
	for _, id := range ids {
		l.seqs[id] = uint32(s.SeqOf(id))
		got, err := s.Receipt(t.Context(), id)
		if err == nil {
			text := fmt.Sprint(got.Topic, got.State, got.OnHold, got.AcceptedAt.UnixMilli(), got.SettledAt.UnixMilli(), got.Confirmation == nil)
			if c := got.Confirmation; c != nil {
				text += fmt.Sprint(*c)
			}
			l.receipts[id] = receipt{got.State, text}
		} else if !errors.Is(err, spool.ErrNotFound) {
			l.receipts[id] = receipt{text: "cannot be read"}
		}
	}
	ledger := s.Ledger()
	l.topics, l.total = ledger.Topics, ledger.Total
	for topic := range ledger.Topics {
		page, err := s.Exceptions(t.Context(), topic, "", 1000)
		if err != nil && !errors.Is(err, spool.ErrNotFound) {
			return l, err
		}
		for _, e := range page.Items {
			l.exceptions[topic] += fmt.Sprintln(e.TopicSeq, e.ID, e.State, e.At.UnixMilli())
		}
	}
	a, err := s.Audit(t.Context())
	if err != nil {
		return l, err
	}
	l.balanced, l.missing = a.Balanced, a.Missing
	return l, nil
}

// takeTransaction takes the messages of a transaction, each with its ID and in the
// form of a line of its own.
func (l *logical) takeTransaction(line []byte) {
	var x struct {
		Transaction struct {
			ID       string
			Messages []json.RawMessage
		}
	}
	if err := json.Unmarshal(line, &x); err != nil {
		return
	}
	for _, raw := range x.Transaction.Messages {
		var m struct{ ID message.ID }
		if err := json.Unmarshal(raw, &m); err == nil {
			l.held[m.ID] = fmt.Sprintf(`{"transaction":%q,"message":%s}`, x.Transaction.ID, raw)
		}
	}
}

// differs tells how l is another state than want; "": it is the same.
func (l logical) differs(want logical) string {
	switch {
	case !maps.Equal(l.held, want.held):
		return fmt.Sprintf("%d are held, not %d, or other bytes", len(l.held), len(want.held))
	case !maps.Equal(l.receipts, want.receipts):
		return "other receipts"
	case !maps.Equal(l.topics, want.topics) || l.total != want.total:
		return fmt.Sprintf("ledger %+v, not %+v", l.total, want.total)
	case !maps.Equal(l.exceptions, want.exceptions):
		return "other exceptions"
	case !l.balanced:
		return fmt.Sprintf("not balanced, missing %v", l.missing)
	}
	return ""
}

// judge compares what is left with what was, and with what the reports say that
// it cost. It names what was not said, and counts what is in an earlier state: that
// is only for files that were cut, with which whole commits are gone. There, of a
// sequence of which nothing is left, it may not be known whether it was settled.
func (l logical) judge(want logical, reports []spool.Damage, cut bool) (wrong []string, again int) {
	wrongf := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	named, lost, among := map[uint32]bool{}, uint64(0), false
	letters := map[uint32]bool{} // dead letters whose entries are reported
	for _, d := range reports {
		for _, found := range ofALetter.FindAllStringSubmatch(fmt.Sprint(d.Found), -1) {
			seq, _ := strconv.ParseUint(found[1], 10, 32)
			letters[uint32(seq)] = true
		}
		lost, among = lost+d.Lost, among || d.Among
		for _, run := range d.Sequences {
			for seq := run.First; seq <= run.Last; seq++ {
				named[uint32(seq)] = true
			}
		}
	}
	gone := uint64(0)
	for id, line := range want.held {
		got, is := l.held[id]
		seq := want.seqs[id]
		switch {
		case is && cut && contentOf(got, seq != id.Seq32()) == contentOf(line, seq != id.Seq32()):
			if got != line {
				again++
			}
		case is && letters[seq] && contentOf(got, false) == contentOf(line, false): // its block had it, too
		case is && got != line:
			wrongf("%s: %s, not %s", id, got, line)
		case is && named[seq]:
			wrongf("%s is named lost, and is held", id)
		case !is && !named[seq] && !(cut && named[id.Seq32()]):
			wrongf("%s is gone, and not named: %s", id, line)
		case !is:
			gone++
		}
		if _, found := l.receipts[id]; is && !found {
			wrongf("%s is held, and is not found by its ID", id)
		}
	}
	if gone > lost || !cut && (gone != lost || gone != uint64(len(named)) || gone > 1) {
		wrongf("%d are gone, %d are said to be lost (among %v)", gone, lost, among)
	}
	for id := range l.held {
		if _, was := want.held[id]; was {
			continue
		}
		again++
		switch r, known := want.receipts[id]; {
		case !known:
			wrongf("%s was never accepted", id)
		case !cut:
			wrongf("%s is %s, and held again", id, r.state)
		}
	}
	for id, r := range want.receipts {
		got, is := l.receipts[id]
		_, back := l.held[id]
		if is && got.text != r.text && !back {
			wrongf("receipt of %s: %s, not %s", id, got.text, r.text)
		}
	}
	twice := uint64(0) // as two messages: of a cut log it may not be known that one was moved
	for id, seq := range want.seqs {
		if old := id.Seq32(); cut && seq != old && (named[seq] || named[old]) {
			twice++
		}
	}
	n, was := l.total, want.total
	if n.Accepted < was.Accepted || n.Accepted > was.Accepted+twice || n.Lost != lost+was.Lost || n.InSpool.Held() != uint64(len(l.held)) ||
		n.Accepted != n.Confirmed+n.Cancelled+n.RolledBack+n.Discarded+n.Lost+n.Unattributed+n.InSpool.Held() {
		wrongf("ledger %+v, was %+v; %d are held, lost %d + %d", n, was, len(l.held), lost, was.Lost)
	}
	return wrong, again
}

// contentOf is the line of a message without its state; of one that was moved also
// without the number that it got with that.
func contentOf(line string, moved bool) string {
	var x struct{ Message map[string]any }
	if err := json.Unmarshal([]byte(line), &x); err != nil {
		return err.Error()
	}
	for _, key := range []string{"state", "held", "reason", "last_error", "attempts", "maybe_sent", "history", "history_skipped", "deliver_at", "ttl", "expires_at"} {
		delete(x.Message, key)
	}
	if moved {
		delete(x.Message, "topic_sequence")
	}
	return fmt.Sprint(x.Message)
}

// order leases everything, topic by topic, and demands it in the order in which
// it was accepted: all of it that is pending and not on hold.
func order(t testing.TB, s *spool.Spool, l logical) (wrong []string) {
	t.Helper()
	waiting := 0
	for topic, n := range l.topics {
		want := int(n.InSpool.Pending - n.OnHold)
		waiting += want
		last := map[string]uint64{}
		for want > 0 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			leases, err := s.Lease(ctx, topic, spool.LeaseOptions{})
			cancel()
			if err != nil {
				return append(wrong, fmt.Sprintf("topic %s: %d of %d cannot be leased: %v", topic, want, waiting, err))
			}
			for _, lease := range leases {
				if lease.Seq <= last[lease.OrderingKey] {
					wrong = append(wrong, fmt.Sprintf("topic %s: %d after %d", topic, lease.Seq, last[lease.OrderingKey]))
				}
				last[lease.OrderingKey] = lease.Seq
			}
			want -= len(leases)
			s.Confirm(leases, confirmations(leases))
		}
	}
	return wrong
}
