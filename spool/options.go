package spool

import (
	"log/slog"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
)

// Options of a spool. Sizes are in bytes; zero means the default.
type Options struct {
	// Dir holds the identity file; the database may lie in it or below it.
	Dir string
	// Limit is the high-water mark: bytes of held messages above which Append
	// answers ErrFull, until they are at 90 % of it. Default 1 GiB.
	Limit int64
	// TopicShare is the part of Limit that one topic may hold. Default 1, all.
	TopicShare float64
	// Space watches the volume. nil: it has room.
	Space Space
	// MaxTopics bounds how many topics may ever appear. Default 10,000.
	MaxTopics int
	// Receipts are kept for ReceiptsKeep (default 24 h), at most ReceiptsMax of
	// them (default 1,000,000) and ReceiptsLimit bytes (default 256 MiB), those that
	// were settled first going first, some hundred neighbours at once.
	ReceiptsKeep  time.Duration
	ReceiptsMax   int
	ReceiptsLimit int64
	// DedupeWindow is how long a dedupe key is known (default 24 h), within
	// DedupeLimit bytes (default 64 MiB) of those of settled messages, the oldest going
	// first, when those that may go are a sixteenth of it.
	DedupeWindow time.Duration
	DedupeLimit  int64
	// LedgerKeep is how long the exceptions of a topic are kept. Default 168 h.
	LedgerKeep time.Duration
	// Confirmed messages are kept for RetainFor, so that Resend can send them again
	// if the broker loses them, within RetainBytes, the oldest going first. Default 0:
	// they are deleted at once.
	RetainFor   time.Duration
	RetainBytes int64
	// Window is how many bytes of memory hold pending messages, over all topics,
	// ready for the forwarder. A topic of which nothing can be leased may have up to
	// 256 KiB besides, and a message for each of its reads, so that it goes on where
	// others fill it. Default 16 MiB.
	Window int64
	// LeaseFor is how long a lease lasts unless it is settled. Default 5 min.
	LeaseFor time.Duration
	// BlockOnDead makes later messages of an ordering key wait for its dead letter,
	// until that is redriven or discarded. Default: they go on without it.
	BlockOnDead bool
	// Timer says of a topic whether delayed messages are for the broker's own timer, and
	// how far ahead of its time that takes one now: pending are those that are no farther
	// away; 0: it takes none, and all are delayed here until they are due. It is asked
	// while all else waits. Default nil: no topic is.
	Timer func(topic string) (ahead time.Duration, is bool)
	// Keys encrypt what is written, and decrypt what was; nil: what is written is
	// plain. Default nil.
	Keys *keyring.Ring
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Elapsed is time that goes on whatever the wall clock says, since any moment.
	// Default: since the spool was opened.
	Elapsed func() time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	setDefault(&o.Limit, 1<<30)
	setDefault(&o.TopicShare, 1)
	setDefault(&o.MaxTopics, 10_000)
	setDefault(&o.ReceiptsKeep, 24*time.Hour)
	setDefault(&o.ReceiptsMax, 1_000_000)
	setDefault(&o.ReceiptsLimit, 256<<20)
	setDefault(&o.DedupeWindow, 24*time.Hour)
	setDefault(&o.DedupeLimit, 64<<20)
	setDefault(&o.LedgerKeep, 168*time.Hour)
	setDefault(&o.Window, 16<<20)
	setDefault(&o.LeaseFor, 5*time.Minute)
	if o.Space == nil {
		o.Space = unbounded{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		began := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(began) }
	}
	if o.Timer == nil {
		o.Timer = func(string) (time.Duration, bool) { return 0, false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T int | int64 | float64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}
