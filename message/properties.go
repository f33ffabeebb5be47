package message

import "strings"

// Names under which a message's own fields travel as broker properties. They
// are reserved: an application cannot set them as user properties.
const (
	PropContentType     = "content-type"
	PropContentEncoding = "content-encoding"
	PropTraceParent     = "traceparent"
	PropTraceState      = "tracestate"
	// PropOrigin carries the spool ID of the sidecar that accepted the message.
	// Only with it is UNIQ_KEY trusted as identity on the consuming side.
	PropOrigin = "remora-origin"
	// PropTopicSeq carries the number that the message has within its origin and
	// topic: what is missing in between was lost, or is an exception of the ledger.
	PropTopicSeq = "remora-topic-sequence"
	// PropHalf tells which half message of which transaction this is, or was: its
	// number, and the transaction's ID.
	PropHalf = "remora-half"
	// PropOrderingKey carries the ordering key; SHARDING_KEY is RocketMQ's own.
	PropOrderingKey = "SHARDING_KEY"
)

// reserved are property names that RocketMQ or Remora gives a meaning. One of
// them set by an application would change what the broker does: TRAN_MSG=true
// hides a message for ever, DELAY delays it, UNIQ_KEY forges its identity
// (rocketmq-client-go primitive/message.go:31-64, Java MessageConst).
var reserved = func() map[string]bool {
	names := map[string]bool{}
	for _, name := range []string{
		"KEYS", "TAGS", "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP",
		"MIN_OFFSET", "MAX_OFFSET", "BUYER_ID", "ORIGIN_MESSAGE_ID", "TRANSFER_FLAG", "CORRECTION_FLAG",
		"MQ2_FLAG", "RECONSUME_TIME", "MSG_REGION", "TRACE_ON", "UNIQ_KEY", "EXTEND_UNIQ_INFO",
		"MAX_RECONSUME_TIMES", "CONSUME_START_TIME", "INNER_NUM", "INNER_BASE", "DUP_INFO",
		"CHECK_IMMUNITY_TIME_IN_SECONDS", "TRAN_PREPARED_QUEUE_OFFSET", "TRANSACTION_CHECK_TIMES",
		"CORRELATION_ID", "REPLY_TO_CLIENT", "TTL", "ARRIVE_TIME", "PUSH_REPLY_TIME", "CLUSTER", "MSG_TYPE",
		"SHARDING_KEY", "INSTANCE_ID", "POP_CK", "FIRST_POP_TIME", "TRANSIENT_DEFER_DELIVER_MS",
		PropContentType, PropContentEncoding, PropTraceParent, PropTraceState,
	} {
		names[strings.ToLower(name)] = true
	}
	return names
}()

// reservedPrefixes cover families: TIMER_* and INNER_* of RocketMQ, "__" of its
// internals, remora-* of ours, ce-* of CloudEvents.
var reservedPrefixes = []string{"timer_", "inner_", "pop_", "__", "remora-", "ce-"}

// Reserved reports whether an application may not use name for a property. Case
// does not matter: header names lose theirs on the way.
func Reserved(name string) bool {
	lower := strings.ToLower(name)
	if reserved[lower] {
		return true
	}
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(lower, p) {
			return true
		}
	}
	return false
}
