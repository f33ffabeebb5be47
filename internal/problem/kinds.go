package problem

// Kind is what all problems of one code share.
type Kind struct {
	Code      string
	Status    int
	Title     string
	Hint      string // what to do about it; "" when Detail says it each time
	Retryable bool   // the same request may succeed later
	Stored    Stored
}

// Codes that a listener names itself. Codes of message.Invalid come from there.
const (
	InvalidRequest      = "invalid-request"
	InvalidOption       = "invalid-option"
	InvalidKey          = "invalid-idempotency-key"
	InvalidProperty     = "invalid-property"
	ReservedProperty    = "reserved-property"
	InvalidDigest       = "invalid-digest"
	DigestMismatch      = "digest-mismatch"
	InvalidCloudEvent   = "invalid-cloudevent"
	InvalidJSON         = "invalid-json"
	InvalidBatch        = "invalid-batch"
	InvalidItem         = "invalid-item"
	EmptyBatch          = "empty-batch"
	DuplicateKey        = "duplicate-idempotency-key"
	Unauthorized        = "unauthorized"
	ForbiddenOrigin     = "forbidden-origin"
	PreflightRefused    = "preflight-refused"
	PeerRefused         = "peer-refused"
	TooManyTopics       = "too-many-topics"
	TopicNotAllowed     = "topic-not-allowed"
	RateLimited         = "rate-limited"
	NotFound            = "not-found"
	NoSuchPath          = "no-such-path"
	MethodNotAllowed    = "method-not-allowed"
	RequestTimeout      = "request-timeout"
	KeySettled          = "idempotency-key-settled"
	KeyReused           = "idempotency-key-reused"
	AlreadySent         = "already-sent"
	MaybeSent           = "maybe-sent"
	WrongState          = "wrong-state"
	OperationRunning    = "operation-running"
	GroupHasMembers     = "group-has-members"
	UnknownTopic        = "unknown-topic"
	UnknownSubscription = "unknown-subscription"
	HasHandler          = "subscription-has-handler"
	UnknownGroup        = "unknown-group"
	UnknownDelivery     = "unknown-delivery"
	AlreadyAcked        = "already-acked"
	LeaseExpired        = "lease-expired"
	DedupeUnavailable   = "dedupe-unavailable"
	UnknownTransaction  = "unknown-transaction"
	TransactionConflict = "transaction-conflict"
	CheckNotAllowed     = "check-not-allowed"
	MessageTooLarge     = "message-too-large"
	BatchTooLarge       = "batch-too-large"
	UnsupportedMedia    = "unsupported-media-type"
	MisdirectedRequest  = "misdirected-request"
	HeadersTooLarge     = "headers-too-large"
	SpoolFull           = "spool-full"
	TopicFull           = "topic-full"
	DiskLow             = "disk-low"
	Busy                = "busy"
	BrokerUnavailable   = "broker-unavailable"
	SpoolReadOnly       = "spool-read-only"
	Starting            = "starting"
	Draining            = "draining"
	Internal            = "internal"
)

// kinds is the table. A row reads: code, status, title, hint, retryable, stored.
var kinds = []Kind{
	{InvalidRequest, 400, "The request is not well-formed HTTP", "Send one unambiguous HTTP/1.1 request; an HTTP library does.", false, StoredNo},
	{InvalidOption, 400, "An option is malformed or contradicts another", "Correct what the detail names: a header, a parameter of the query, or a member of the body.", false, StoredNo},
	{"empty-body", 400, "The body is empty", "Send at least one byte.", false, StoredNo},
	{"invalid-topic", 400, "The topic name is not allowed", "Use 1 to 127 letters, digits, '_' and '-'.", false, StoredNo},
	{"invalid-tag", 400, "The tag is not allowed", "Use one tag without blanks and '|', at most 255 bytes.", false, StoredNo},
	{"invalid-key", 400, "A key is not allowed", "Keys have no blanks and at most 255 bytes each.", false, StoredNo},
	{"invalid-ordering-key", 400, "The ordering key is not allowed", "Use at most 255 bytes of text without control characters.", false, StoredNo},
	{"invalid-content-type", 400, "The content type is not allowed", "Send one Content-Type without control characters.", false, StoredNo},
	{"invalid-content-encoding", 400, "The content encoding is not allowed", "Send one Content-Encoding without control characters.", false, StoredNo},
	{"invalid-trace-context", 400, "The trace context is not allowed", "Send traceparent and tracestate as W3C Trace Context says.", false, StoredNo},
	{InvalidProperty, 400, "A property is not allowed", "Give each property once, as name=value with the value percent-encoded and not empty.", false, StoredNo},
	{ReservedProperty, 400, "A property name is reserved", "Choose another name, or use the header made for it.", false, StoredNo},
	{"properties-too-large", 400, "The properties are too large", "Move data from properties into the body.", false, StoredNo},
	{InvalidKey, 400, "The idempotency key is malformed", "Send 1 to 255 printable ASCII characters, best in double quotes: Idempotency-Key: \"8e03978e\".", false, StoredNo},
	{InvalidDigest, 400, "The content digest cannot be verified", "Send Content-Digest: sha-256=:BASE64:, or leave it out.", false, StoredNo},
	{DigestMismatch, 400, "The body does not match its digest", "The body changed on its way, or the digest is of other bytes; send it again.", false, StoredNo},
	{InvalidCloudEvent, 400, "This is not a valid CloudEvent", "specversion 1.0, id, source and type are required and not empty.", false, StoredNo},
	{InvalidJSON, 400, "The body is not valid JSON", "Send UTF-8 JSON; application/x-ndjson has one object on each line.", false, StoredNo},
	{InvalidBatch, 400, "Items of the batch are at fault", "Correct or leave out the items that errors names, and send the whole batch again.", false, StoredNo},
	{InvalidItem, 400, "An item of the batch is malformed", "Each item is an object with topic, and body or body_base64; see /openapi.yaml.", false, StoredNo},
	{EmptyBatch, 400, "The batch has no messages", "Send at least one message.", false, StoredNo},
	{DuplicateKey, 400, "One idempotency key stands twice in the batch", "Give each message of a topic its own key.", false, StoredNo},
	{TooManyTopics, 400, "The limit of topics is reached", "Use fewer topics. The operator: raise topics.max.", false, StoredNo},
	{Unauthorized, 401, "The bearer token is missing or wrong", "Send Authorization: Bearer TOKEN, with the token of the configured token file.", false, StoredNo},
	{ForbiddenOrigin, 403, "A web page may not call this listener", "Call it from your application; or add the page's origin to the allowed origins.", false, StoredNo},
	{PreflightRefused, 403, "OPTIONS is refused", "This listener does no CORS.", false, StoredNo},
	{PeerRefused, 403, "This user may not use the socket", "Connect as one of the configured user IDs.", false, StoredNo},
	{TopicNotAllowed, 403, "The topic is not one of those that may be published to", "Correct the topic. The operator: add it to topics.allow.", false, StoredNo},
	{CheckNotAllowed, 403, "The check URL is not one of those that may be asked", "Correct check.url. The operator: add it to transactions.check_urls.", false, StoredNo},
	{NotFound, 404, "There is no such message", "Receipts are kept for a limited time after a message has settled: see receipts in /v1/status. A message that is held always has one.", false, StoredUnknown},
	{UnknownTopic, 404, "There is no such topic", "Write the name of one that has had a message: 'sidecar topic list' or GET /v1/topics names them.", false, StoredNo},
	{UnknownSubscription, 404, "There is no such subscription", "Write the name of one of the configured subscriptions.", false, StoredNo},
	{UnknownGroup, 404, "There is no such group", "Write the group of one of the configured subscriptions: its name, unless it names another.", false, StoredNo},
	{UnknownDelivery, 404, "There is no such delivery", "Send the MQ-Delivery-Id of the delivery. One that ended is known for an hour, and none survives a restart: its message was not acked, and comes again.", false, StoredNo},
	{UnknownTransaction, 404, "There is no such transaction", "An open transaction is always known; one that was decided, for as long as receipts and idempotency keys are kept.", false, StoredUnknown},
	{NoSuchPath, 404, "There is nothing at this path", "See /openapi.yaml for what there is. What operators ask for is at listen.admin, probes and /metrics are at listen.health.", false, StoredNo},
	{MethodNotAllowed, 405, "This method is not allowed here", "Use a method of the Allow header.", false, StoredNo},
	{RequestTimeout, 408, "The request did not arrive in time", "Send it again, faster.", true, StoredNo},
	{KeySettled, 409, "The message of this idempotency key was cancelled or discarded", "Use a new key to publish again.", false, StoredNo},
	{AlreadySent, 409, "The message is in flight or settled", "It cannot be cancelled any more.", false, StoredYes},
	{MaybeSent, 409, "The message may have reached the broker", "It cannot be cancelled any more; it is repeated until confirmed.", false, StoredYes},
	{WrongState, 409, "The message's state does not allow this", "The detail says what it is. While an attempt is being made, ask again when it has ended.", false, StoredYes},
	{TransactionConflict, 409, "The transaction is decided otherwise, or is another one", "What was decided stands: GET the transaction. To prepare another one, choose another id.", false, StoredUnknown},
	{OperationRunning, 409, "Another operation is running", "Follow it by GET /v1/operations/{id}; wait until it has ended, or stop it by POST /v1/operations/{id}/stop.", false, StoredNo},
	{GroupHasMembers, 409, "The group has other members", "They would write their own progress over what is set. Stop every other consumer of the group, wait until the broker has noticed (2 minutes after one was cut off), and ask again.", false, StoredNo},
	{HasHandler, 409, "The subscription has a handler", "Its messages are delivered to that. The operator: leave handler out of the subscription, so that its messages can be pulled.", false, StoredNo},
	{AlreadyAcked, 409, "The delivery was acked before", "It is done, and cannot be given back or extended.", false, StoredNo},
	{LeaseExpired, 410, "The lease has ended", "The message went to another delivery, or is on its way to one, whose handler has to decide. Ask for a longer lease, or extend it in time.", false, StoredNo},
	{MessageTooLarge, 413, "The message is too large", "Send a smaller body, or put it elsewhere and send a reference.", false, StoredNo},
	{BatchTooLarge, 413, "The batch is too large", "Split it into several batches.", false, StoredNo},
	{UnsupportedMedia, 415, "The media type is not understood here", "", false, StoredNo},
	{MisdirectedRequest, 421, "The Host is not one of this listener's", "Use localhost or 127.0.0.1, or add the name to the allowed hosts.", false, StoredNo},
	{KeyReused, 422, "The idempotency key was used before with other content", "A retry must send the same topic, body and options; another message needs another key.", false, StoredNo},
	{RateLimited, 429, "The topic is published to faster than it may be", "Send again after Retry-After, and slower. The operator: raise topics.rate.", true, StoredNo},
	{HeadersTooLarge, 431, "The request headers are too large", "Move data into the body, or use POST /v1/messages:batch, whose options stand in JSON.", false, StoredNo},
	{SpoolFull, 503, "The spool is full", "Send again after Retry-After. The operator: see why the broker takes nothing, free space, or raise spool.limit.", true, StoredNo},
	{TopicFull, 503, "The topic holds its whole share of the spool", "Send again after Retry-After. The operator: see why the topic is not forwarded, or raise spool.topic_share.", true, StoredNo},
	{DiskLow, 503, "The volume is low on space", "Send again after Retry-After. The operator: free space on the spool's volume.", true, StoredNo},
	{Busy, 503, "The sidecar has too much to do", "Send again after Retry-After.", true, StoredNo},
	{BrokerUnavailable, 503, "The broker does not do what was asked", "The detail says why. Send again after Retry-After.", true, StoredNo},
	{SpoolReadOnly, 503, "The spool cannot take this before the sidecar's next start", "Send again with the same idempotency key after the sidecar has restarted. The operator: see its log, then the disk.", true, StoredNo},
	{DedupeUnavailable, 503, "The dedupe store does not answer", "Send again after Retry-After: nothing was done. The operator: see the sidecar's log.", true, StoredNo},
	{Starting, 503, "The sidecar is starting", "Send again after Retry-After. What was accepted before is known when the spool is open.", true, StoredUnknown},
	{Draining, 503, "The sidecar is stopping", "Send again after Retry-After, to its successor.", true, StoredNo},
	{Internal, 500, "This is a bug in the sidecar", "Report it with the sidecar's log. Send again with the same idempotency key.", true, StoredUnknown},
}

var byCode = func() map[string]Kind {
	m := make(map[string]Kind, len(kinds))
	for _, k := range kinds {
		m[k.Code] = k
	}
	return m
}()

// Lookup returns the kind of a code.
func Lookup(code string) (Kind, bool) {
	k, ok := byCode[code]
	return k, ok
}

// Kinds returns every kind, by status.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }
