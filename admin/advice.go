package admin

// advice is for who is woken by a condition: what is the case, and what to do. docs/operating.md
// tells more; the console and 'sidecar check' show these words.
type advice struct{ means, do string }

var advices = map[Condition]advice{
	Starting:           {"the spool is being opened; publishes are answered 503 starting", "wait; the log says what takes long"},
	Stopping:           {"it was told to stop, and forwards what is left", "nothing; what is not forwarded in time is kept"},
	ReadOnly:           {"a sync failed, or damage was met: nothing more is accepted, and the process ends with 74", "look at the disk and at the log, then start it again"},
	SyncStalled:        {"a write to the spool's disk has not come to its end for spool.sync_timeout", "look at the disk; all goes on by itself when it answers"},
	Broker:             {"a broker cannot be reached, or takes nothing; messages wait in the spool", "see 'sidecar queue list --state retrying' for why, and 'sidecar check' for what can be reached"},
	TopicParked:        {"the broker does not know a topic, or does not permit it; its messages wait", "create the topic, or give permission; remora_topic_parked names it"},
	TopicPaused:        {"an operator has paused a topic; its messages wait", "'sidecar topic resume TOPIC', when it is time; 'sidecar topic list' says which"},
	OrderingBlocked:    {"ordering keys wait for a dead letter", "see 'sidecar dlq list', then 'sidecar dlq redrive' or 'sidecar dlq discard'"},
	DeliveryBlocked:    {"ordering keys wait for a message that their handler does not take", "see blocked_keys of /v1/status for which, and put its handler right"},
	Handler:            {"a handler cannot be reached; its messages wait at the broker, at no cost", "start the application; 'sidecar subscription list' says which"},
	HandlerFailing:     {"most calls of a handler fail, and it is probed by one message at a time", "see the application's log; where it answers a 2xx, have it answer 200, or list that status in ack_statuses"},
	SendBackRefused:    {"a broker takes messages back neither for a retry nor as dead letters; they are held, and nothing is lost", "have the broker take them, as its words say; or mend the handler and say 'sidecar subscription retry NAME': its 200 settles what it is called for again"},
	AppNotReady:        {"the readiness of an application says no; its messages wait at the broker", "see why the application is not ready; 'sidecar subscription list' says which"},
	SubscriptionPaused: {"an operator has paused a subscription", "'sidecar subscription resume NAME', when it is time"},
	NotJoined:          {"a subscription cannot join its group at the broker: it gets nothing", "'sidecar subscription list' says which and why, 'sidecar check' what can be reached"},
	DedupeStore:        {"a dedupe store that sidecars share does not answer", "start it, or see the log for why it cannot be used"},
	SpoolFull:          {"spool.limit is reached; publishes are answered 503 spool-full", "see why the broker takes nothing, or raise spool.limit"},
	DiskLow:            {"the volume has less than spool.reserve free; publishes are answered 503 disk-low", "free space on the spool's volume"},
	Damaged:            {"damage was found in the spool; what can be read is kept", "see 'sidecar ledger' for what is lost, then 'sidecar ledger acknowledge'"},
	ClockStep:          {"the wall clock was set by more than an hour; no TTL and no idempotency key ends", "look at the clock, then 'sidecar spool confirm-clock'; or wait an hour"},
	Undecided:          {"transactions are undecided after all their check-backs; nothing of them is sent", "see 'sidecar tx list --state undecided', then 'sidecar tx commit' or 'sidecar tx rollback'"},
	StrangeHalf:        {"a broker asks for a half message that nobody here knows", "see the log for which, and who else uses the producer group"},
	DroppedHalf:        {"a broker had dropped, or lost, a half message; a new one took its place", "nothing is lost; see why none ran here, or why broker was degraded"},
	RenewedHalf:        {"half messages were renewed, for their applications had decided nothing", "nothing is lost; see why: 'sidecar tx list --state half' tells the last answers of the applications, then 'sidecar tx commit' or 'sidecar tx rollback'"},
}
