// Package e2e tests the built binary against a real RocketMQ: two sidecars as
// child processes, one that produces and one that consumes, an application
// beside each, and kill -9 of everything but the applications.
//
// # What is checked
//
// Posters, handler and the one who kills write what they saw into a history.
// [TestMainJob] then wants of it:
//
//   - lost: every message that was answered 2xx was answered 200 by the handler;
//   - altered: each delivery had the digest of what was sent: body, topic, tag,
//     keys, ordering key, properties, content type, trace context;
//   - phantom: each delivery was of an accepted message. What was refused, what
//     broke off in the middle, and what was posted again because no answer came,
//     would show up here;
//   - repeat: after a 200 within the timeout the handler is not called again for
//     that message by the same life of the sidecar, and by a later one only if
//     the earlier was killed before it can have recorded the 200 (5 s, generous
//     for a busy machine);
//   - order: of each ordering key, first appearances at the broker come in the
//     order of the accepts. This is read with mqadmin, which shares no code with
//     the sidecar. The order of calls is not promised and not checked;
//   - the answers: one message ID a message over all posts, 200 only for a
//     confirmation that was waited for, 422 for other content under a used key;
//   - the ledger of the producing sidecar is drained, balanced, and counts what
//     the application counted; mqadmin finds samples by unique key.
//
// [TestNotAckedBeforeIts200] keeps messages without an answer and watches the
// broker's consumer offset: it reaches the first kept message of a queue (so
// offsets are pushed) and never passes it; each kept message comes again after
// each kill. [TestOutageFromTheStart] accepts and is killed without any cluster.
//
// [TestPairThroughKills] has two sidecars of one group share a Redis, and kills all
// there is while handlers do their worst. Besides the above it wants:
//
//   - acked: the broker's offsets, read all the while, pass a message only after its
//     200, or when the broker has been given another copy of it (custody.go);
//   - recorded: no call of a message that Redis has done when it is called for;
//   - repeat: another call after a 200 only for a kill that kept it from being
//     recorded, and one for each;
//   - unrecorded: Redis has every 200 that no kill hit;
//   - mqadmin consumerProgress sees the group at the end of each queue.
//
// [TestNoEarlyAckAtAnyPosition] has all messages of a queue answered but one, for each
// of them.
//
// [TestRollingRestart] stops and starts both members of a pair under load, and wants
// one call for each message. [TestPulledIsNotAckedBeforeItsAck],
// [TestRefusedSendBackIsHeld] and [TestSlowHandlers] watch the offsets while messages
// are leased by who pulls, refused by the broker, and held for longer than the library
// likes.
//
// # Again with the same seed
//
// Messages, the handler's moods and the plan of kills follow from a seed, which
// each test prints; REMORA_SEED=n repeats it. Scheduling does not follow from it:
// a rare failure may need several runs. A failed test keeps the sidecars' logs,
// with the stacks of all goroutines, and says where.
//
//	REMORA_SEED=7 go test -count=1 -v -run TestMainJob ./test/e2e
//	REMORA_TEST_LONG=1 go test -count=1 -v -timeout 2h ./test/e2e
//
// The binary is built into .build of the checkout; REMORA_E2E_BINARY names
// another one, for example of a tree that was broken on purpose.
//
// # That the tests can fail
//
// Builds that were broken on purpose, and what went red:
//
//   - acked before its 200 (acker.deliver in broker/rocketmq calls the receiver in
//     a goroutine and returns nil): TestNotAckedBeforeIts200, "the broker's offset
//     is 7, and message 0 has no 200"; TestNoEarlyAckAtAnyPosition the same;
//     TestPairThroughKills, "acked"; [TestEarlyAckIsFound] does that each time;
//   - settled before the confirmation (lane.attempt in forwarder calls Confirm
//     before send): TestOutageFromTheStart, "ledger … want 400 held" and 395
//     times "lost";
//   - repeats that are not looked for (look.lua in dedupe/redis): TestPairThroughKills,
//     "recorded";
//   - done before the call (held.attempt in ackgate): TestPairThroughKills, "acked" and
//     "lost";
//   - no done at all (Done in dedupe/redis only releases): TestPairThroughKills,
//     "unrecorded" and "repeat";
//   - a refused send-back taken for a confirmed one (held.giveBack in ackgate):
//     TestRefusedSendBackIsHeld, "the broker's offset is 4, and message 1 has no 200";
//   - no order asked for (brokerSubscription in sidecar): TestRollingRestart, "order";
//   - a threshold of 1000 for 16 goroutines (newClient in broker/rocketmq):
//     TestSlowHandlers in its long form: after 8 minutes not all are handled.
//
// [TestVerdict], [TestDisorder], [TestPairVerdict] and [TestCustodyIsJudged] show the
// checkers themselves broken histories.
//
// # Assumptions
//
// Linux, java and mvn (see test/rocketmq), redis-server, and a checkout. All tests share one
// name server and one broker and run one after the other.
package e2e
