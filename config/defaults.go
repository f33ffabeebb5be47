package config

// Default returns the configuration of an empty file. It has no broker type:
// `run` wants that said.
func Default() Config {
	return Config{
		Listen: Listen{Data: []string{"127.0.0.1:7600"}, Admin: "127.0.0.1:7601", Health: "127.0.0.1:7602"},
		Spool: Spool{
			Dir: "./remora-data", Limit: GiB, TopicShare: "50%", LockWait: 30 * Second, SyncTimeout: 10 * Second, Reserve: ReserveAuto,
			MaxMessage: 4032 * KiB, MaxBatch: MaxBatch{Messages: 1000, Bytes: 16 * MiB},
			Receipts:    Receipts{Keep: 24 * Hour, Max: 1_000_000, Limit: 256 * MiB},
			Idempotency: Idempotency{Window: 24 * Hour, Limit: 64 * MiB},
			Retain:      RetainAuto,
		},
		Forwarder: Forwarder{
			Concurrency: 64, Batch: ForwardBatch{MaxMessages: 256, MaxBytes: MiB}, AttemptTimeout: 5 * Second,
			Retry:    Backoff{Initial: 100 * Millisecond, Max: 30 * Second},
			Ordering: Ordering{FailoverAfter: Never, OnDead: OnDeadSkip},
		},
		Topics:       Topics{Max: 10_000},
		Memory:       Memory{Ingest: 32 * MiB, Deliver: 32 * MiB},
		Ledger:       Ledger{Keep: 168 * Hour},
		Transactions: Transactions{CheckURLs: []string{"http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"}},
		Dedupe:       Dedupe{Window: 24 * Hour, Limit: 256 * MiB, Timeout: 2 * Second},
		Drain:        Drain{Timeout: 25 * Second},
		Log:          Log{Level: "info", Format: "json"},
	}
}

// later names the keys that this version cannot honour and what they would do.
// Their defaults say what happens instead. There is none now.
var later = map[string]string{}
