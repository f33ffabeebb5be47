package sidecar_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/remora-mq/remora/sidecar"
)

// TestBudgetsAreTold: what is known of messages that are gone, and how much of it
// there may be, by metric and in what `spool stats` prints.
func TestBudgetsAreTold(t *testing.T) {
	r := start(t, embedded(t))
	_, body := get(t, "http://"+r.side.Addresses().Admin+"/v1/spool")
	var s sidecar.Stats
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err, body)
	}
	for what, limit := range map[string]int64{"receipts": s.Known.ReceiptsLimit, "keys": s.Known.DedupeMaxBytes, "marks": s.Marks.LimitBytes} {
		if limit < 1<<20 || limit > 256<<20 {
			t.Errorf("%s: %d bytes", what, limit)
		}
	}
	_, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics")
	for _, line := range []string{
		"spool_receipts 0", "spool_receipt_bytes 0", "spool_receipt_limit_bytes ", "spool_idempotency_keys 0", "spool_idempotency_bytes 0",
		"spool_idempotency_limit_bytes ", "spool_idempotency_window_seconds 86400", "dedupe_marks 0", "dedupe_bytes 0", "dedupe_limit_bytes ", "dedupe_window_seconds 86400",
	} {
		if !strings.Contains(metrics, "\nremora_"+line) {
			t.Errorf("no metric says remora_%s", line)
		}
	}
}
