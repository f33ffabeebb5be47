package spool_test

import (
	"fmt"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// BenchmarkManyTopics is what is asked of 10,000 topics, each with a message: each second,
// and for each status.
func BenchmarkManyTopics(b *testing.B) {
	r := tenThousandTopics(b)
	for _, one := range []struct {
		name string
		ask  func()
	}{
		{"Ledger", func() { r.Ledger() }},
		{"Total", func() { r.Total() }},
		{"TopicLedger", func() { r.TopicLedger("topic-7") }},
		{"Paused", func() { r.Paused() }},
		{"AnyPaused", func() { r.AnyPaused() }},
		{"KeptBack", func() { r.KeptBack() }},
		{"Oldest", func() { r.Oldest() }},
		{"BlockedKeys", func() { r.BlockedKeys() }},
	} {
		b.Run(one.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				one.ask()
			}
		})
	}
}

// tenThousandTopics is a spool with 10,000 topics of a message each, of which one is paused.
func tenThousandTopics(b *testing.B) *rig {
	b.Helper()
	const topics, each = 10_000, 500
	r := newRigOn(b, spool.Options{MaxTopics: topics, Limit: 1 << 40}, kv.Options{})
	for n := 0; n < topics; n += each {
		var drafts []spool.Draft
		for k := range each {
			drafts = append(drafts, draft(fmt.Sprint("topic-", n+k), "x"))
		}
		r.accept(drafts...)
	}
	r.pauseTopic("topic-7")
	return r
}
