package spool

// Known counts what a spool remembers besides the messages that it holds.
type Known struct {
	Receipts       int   `json:"receipts"` // of settled messages
	ReceiptsMax    int   `json:"receipts_max"`
	ReceiptBytes   int64 `json:"receipt_bytes"` // on disk
	ReceiptsLimit  int64 `json:"receipts_limit_bytes"`
	DedupeKeys     int   `json:"idempotency_keys"`
	DedupeBytes    int64 `json:"idempotency_bytes"`       // in memory and on disk together, also of held messages
	DedupeMaxBytes int64 `json:"idempotency_limit_bytes"` // for those of settled messages
}

// Known returns the counts of receipts and dedupe keys, and their budgets.
func (s *Spool) Known() Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Known{
		Receipts: s.receipts.total, ReceiptsMax: s.opts.ReceiptsMax,
		ReceiptBytes: s.receipts.bytes, ReceiptsLimit: s.opts.ReceiptsLimit,
		DedupeKeys: s.keys.count, DedupeBytes: s.keys.bytes(), DedupeMaxBytes: s.opts.DedupeLimit,
	}
}
