package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/transaction"
)

// Options are the values of a Server. The zero value of a field means its default.
type Options struct {
	// MaxMessage bounds a message's body, in bytes. Default and most: message.MaxBody.
	MaxMessage int
	// MaxBatchMessages and MaxBatchBytes bound a batch: its items, and the bytes
	// of its request body. Defaults: 1,000 and 16 MiB.
	MaxBatchMessages int
	MaxBatchBytes    int
	// IngestBudget bounds the bytes of all bodies being received at one time;
	// over it a request is answered 503 busy. Default: 32 MiB. It is raised to
	// the largest single request, which could otherwise never pass.
	IngestBudget int64
	// MaxHeader bounds a request's header, in bytes. Default: 48 KiB.
	MaxHeader int
	// MaxConns bounds the open connections; further ones are answered 503 busy
	// and closed. Default: 20,000, and at most three eighths of the files that the
	// process may have open.
	MaxConns int

	// ReadTimeout is for a whole request, from its first byte. Default: 10 s.
	ReadTimeout time.Duration
	// WriteTimeout is for writing an answer, or up to an eighth of it less.
	// Default: 10 s.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may wait for a request. Default: 60 s.
	IdleTimeout time.Duration
	// AppendTimeout is how long a request waits for the disk before it is
	// answered 503 busy, or up to an eighth of it less: with stored false if its
	// commit had not begun, else unknown. Default: 10 s.
	AppendTimeout time.Duration
	// MaxWait bounds Prefer: wait; longer wishes are shortened. Default: 60 s.
	MaxWait time.Duration

	// AllowedTopics are the topics that may be published to; none: any.
	AllowedTopics []string
	// TopicRates bounds what is accepted for a topic, in messages a second; a
	// topic that is missing has no bound. Over it: 429 rate-limited.
	TopicRates map[string]float64

	// Tokens are the valid bearer tokens; none: no token is asked for.
	Tokens []string
	// AllowedHosts and AllowedOrigins are allowed besides loopback names.
	AllowedHosts   []string
	AllowedOrigins []string
	// PeerUIDs are the users who may connect to a unix socket; none: whoever the
	// file's mode lets in.
	PeerUIDs []uint32

	// Deliveries are what is in the application's hands. nil: there are none.
	Deliveries Deliveries

	// Transactions are those of the spool. nil: there are none, and no path of them.
	Transactions Transactions
	// CheckURLs are the addresses at which applications may be asked for the decision
	// of a transaction. None: no transaction can be prepared.
	CheckURLs transaction.Allowed

	// Version is the program's own.
	Version string
	// BrokerType is named in receipts and status, as "rocketmq".
	BrokerType string
	// Survives is what the spool's volume survives: process, pod or node.
	// Default: process, the least.
	Survives string

	// RetryAfter tells how long the spool needs to have room again, from the
	// measured drain: for a problem's code (spool-full, topic-full, disk-low) and
	// the topic that is full. nil, or an answer of 0: unknown, 30 s.
	RetryAfter func(code, topic string) time.Duration
	// Status tells what GET /v1/status cannot know by itself. nil: nothing.
	Status func(context.Context) Status
	// Log receives what an operator has to know; requests are not logged.
	// Default: discard.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	o.MaxMessage = min(cmp.Or(max(o.MaxMessage, 0), message.MaxBody), message.MaxBody)
	o.MaxBatchMessages = cmp.Or(max(o.MaxBatchMessages, 0), 1000)
	o.MaxBatchBytes = cmp.Or(max(o.MaxBatchBytes, 0), 16<<20)
	o.IngestBudget = max(cmp.Or(max(o.IngestBudget, 0), 32<<20), int64(o.MaxMessage), int64(o.MaxBatchBytes))
	o.MaxHeader = cmp.Or(max(o.MaxHeader, 0), 48<<10)
	o.MaxConns = min(cmp.Or(max(o.MaxConns, 0), 20_000), mostConns(kv.OpenFiles()))
	o.ReadTimeout = cmp.Or(max(o.ReadTimeout, 0), 10*time.Second)
	o.WriteTimeout = cmp.Or(max(o.WriteTimeout, 0), 10*time.Second)
	o.IdleTimeout = cmp.Or(max(o.IdleTimeout, 0), 60*time.Second)
	o.AppendTimeout = cmp.Or(max(o.AppendTimeout, 0), 10*time.Second)
	o.MaxWait = cmp.Or(max(o.MaxWait, 0), 60*time.Second)
	o.Survives = cmp.Or(o.Survives, "process")
	if o.Deliveries == nil {
		none := ackgate.NewLeases()
		none.Ready()
		o.Deliveries = none
	}
	if o.RetryAfter == nil {
		o.RetryAfter = func(string, string) time.Duration { return 0 }
	}
	if o.Status == nil {
		o.Status = func(context.Context) Status { return Status{} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// mostConns leaves files for the spool: a client that opens connections, and sends
// nothing, would keep it from opening one, which ends the process. An eighth is for all
// else.
func mostConns(files uint64) int {
	return int(min(files-files/8-kv.MostTables(files), math.MaxInt))
}
