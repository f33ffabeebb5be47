// Package chaos puts faults between the built binary and a real RocketMQ: in the
// network, at brokers and name servers, and in how they are set up.
//
// An application posts under ordering keys and without them. A link lies before
// each broker and each name server, a proxy that does to what passes what
// Toxiproxy's toxics do: brokers listen on 127.0.0.1 and advertise 127.0.0.2,
// where the links are. The brokers take messages only of who signs for them
// (authenticationEnabled), and the name server is found by its DNS name.
//
// # What is checked
//
// Whatever happens, each post is answered 202. After the faults all is confirmed,
// and the time that took is printed. Then the queues are read as a consumer
// reads them, by code that the sidecar does not have, and
//
//   - lost: each accepted message is on a broker;
//   - phantom, altered: nothing else is, and each has its body and its key;
//   - order: each key is in one queue, in the order of its accepts, by first
//     appearances;
//   - repeat: a message has no more copies beyond the first than the sidecar says
//     attempts without a known outcome, all under its one ID;
//   - the ledger balances and counts what the application counted.
//
// # Again with the same seed
//
// [TestSchedules] draws what happens from a seed, which it prints with each
// schedule; REMORA_SEED=n repeats it. Scheduling does not follow from it: a rare
// failure may need several runs. `make chaos` is the long form, with more and
// longer faults: REMORA_TEST_LONG, see internal/testscale.
//
//	REMORA_SEED=7 go test -count=1 -v -run TestSchedules ./test/chaos
//	make chaos LONG=0.1
//
// # That the tests can fail
//
// Builds that were broken on purpose (REMORA_E2E_BINARY names one), and what went
// red:
//
//   - an unknown outcome counted as confirmed (lane.send in broker/rocketmq):
//     TestSchedules, "lost";
//   - each message sent twice (lane.call): TestNameServersDown, "repeat: 2 copies
//     of …, of which 0 answers were lost";
//   - a key in any queue (selector.bound): TestNameServersDown, "order";
//   - another ID at each attempt (wireMessage): TestNameServersDown, "lost";
//   - no breaker for what is stored without SEND_OK (opensBreaker):
//     TestStoredWithoutSendOK, "copies more than messages";
//   - NO_PERMISSION and TOPIC_NOT_EXIST as permanent (ofCode, ofError):
//     TestAccessControl and TestMissingTopicWaitsForItsCreation, dead letters;
//   - MESSAGE_ILLEGAL as retryable (ofCode): TestDeadLettersComeBack waits in vain;
//   - half of each delay (httpapi): TestDelayedMessagesArriveInTime, "on a broker
//     722ms after it was posted with a delay of 1s";
//   - each time of delivery 200 ms sooner (httpapi): TestLatenessOfDelayedMessages,
//     "before its time".
//
// [TestVerdict] shows the checker itself broken histories.
package chaos
