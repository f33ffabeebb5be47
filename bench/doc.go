// Bench measures how fast Remora takes messages durably over HTTP, beside what
// this machine can do at all, in one run:
//
//	append + fdatasync      one writer, a sync a message: the floor of the latency
//	group-committed append  all that wait share a sync: the ceiling of the rate
//	server without storing  our listener with all its checks, over nothing
//	remora                  listener, spool and forwarder, as they ship
//
// Each message is 1 KiB of random bytes under an Idempotency-Key of its own;
// receipts, keys and ledger are kept, and a broker that confirms at once drains
// the spool, so that what is measured is steady state. Every 202 is accounted
// for at the end.
//
// Peers stay up and take turns, round by round, so that a machine that becomes
// slower does so for all of them. Servers are processes of their own; the load
// comes from this one. Only ratios are judged (target.go).
//
// Other systems join as a peer.Peer, with -peers: Redis with appendfsync always,
// a RabbitMQ quorum queue with confirms, a PostgreSQL outbox, NATS JetStream with
// sync always. Each speaks its own protocol and has synced a message before it
// answers. The clients are our own and small, because their work is done on the
// same processors. Nobody consumes from the peers, they keep no keys and no
// receipts, and are emptied between turns: what they are spared is theirs.
//
// What a server of several processes costs is the sum of them all; its memory is
// that at the end of the load, and pages that they share are counted once.
//
// -profile DIR writes where our server spends its time.
//
// One goroutine runs the rounds; each connection has its own while it is loaded.
package main
