package golden

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

var topics = []string{"orders", "invoices"}

// draft is message n of a topic; one that becomes a dead letter, and one that
// stays, are stored apart. One that stays, and a delayed one, have a TTL.
func draft(topic string, n int) spool.Draft {
	text := func(what string) string { return fmt.Sprintf("%s %d of %s", what, n, topic) }
	body := text("body")
	if n == 3 || n == 9 {
		body = strings.Repeat(body, 1400)
	}
	d := spool.Draft{
		Message: message.Message{
			Topic: topic, Tag: fmt.Sprint("tag", n, topic), Keys: []string{fmt.Sprint("key", n, topic), "second"}, OrderingKey: text("ordering key"),
			ContentType: "text/plain", ContentEncoding: "identity", TraceParent: "00-parent", TraceState: "a=b",
			Properties: []message.Property{{Name: "name", Value: text("value")}}, Body: []byte(body),
		},
		DedupeKey: text("dedupe key"), Fingerprint: [16]byte{byte(n)},
	}
	if n == 8 || n == 20 {
		d.TTL = 90 * 365 * 24 * time.Hour
	}
	return d
}

// delay adds to each topic what is delayed: 20 and 22, and 21, which is cancelled.
func (h *house) delay() {
	h.t.Helper()
	for _, topic := range topics {
		h.append(delayedDraft(topic, 20))
		r := h.append(delayedDraft(topic, 21))
		_, err := h.spool.Cancel(h.t.Context(), r.ID)
		h.must(err)
		h.append(delayedDraft(topic, 22))
	}
}

// delayedDraft is message n of a topic, by the one clock or by the other; 22 is
// stored apart.
func delayedDraft(topic string, n int) spool.Draft {
	d := draft(topic, n)
	if n == 22 {
		d.Body, d.DeliverAt = []byte(strings.Repeat(string(d.Body), 4000)), day.Add(100*time.Hour)
	} else {
		d.Delay = 100 * time.Hour
	}
	return d
}

const perTopic = 10

// fill brings a message of each topic into every state that lasts: 1 confirmed,
// 2 and 3 dead letters, 4 and 6 on hold, 5 cancelled, all others held.
func (h *house) fill() {
	h.t.Helper()
	for _, topic := range topics {
		for n := range 3 {
			h.append(draft(topic, n+1))
		}
		leases := h.lease(topic, 3)
		h.spool.Confirm(leases[:1], []message.Confirmation{{MessageID: "theirs", OffsetMessageID: "offset", Queue: "broker-a/3", Offset: 7}})
		for _, l := range leases[1:] {
			h.must(h.spool.Bury(h.t.Context(), l, "REFUSED", "the broker does not want it"))
		}
		for n := 4; n <= perTopic; n++ {
			r := h.append(draft(topic, n))
			var err error
			switch n {
			case 4, 6:
				_, err = h.spool.Hold(h.t.Context(), r.ID)
			case 5:
				_, err = h.spool.Cancel(h.t.Context(), r.ID)
			}
			h.must(err)
		}
	}
	for _, name := range []string{"done", "begun"} {
		m, err := h.marks.Begin(h.t.Context(), mark(name), effect, time.Hour)
		h.must(err)
		if name == "done" {
			h.must(h.marks.Done(h.t.Context(), mark(name), m))
		}
	}
}

var effect = dedupe.Fingerprint{1, 2, 3}

func mark(name string) dedupe.Key { return dedupe.Key{Scope: "scope", Key: name} }

func (h *house) append(d spool.Draft) message.Receipt {
	h.t.Helper()
	receipts, err := h.spool.Append(h.t.Context(), []spool.Draft{d})
	h.must(err)
	return receipts[0]
}

// lease leases n messages, whatever keeps them from being leased at once.
func (h *house) lease(topic string, n int) (all []*spool.Lease) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	for len(all) < n {
		some, err := h.spool.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: n - len(all)})
		h.must(err)
		all = append(all, some...)
	}
	return all
}
