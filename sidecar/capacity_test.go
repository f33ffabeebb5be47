package sidecar_test

import (
	"encoding/json"
	"testing"

	"github.com/remora-mq/remora/config"
)

// TestStatusShowsWhatTheVolumeLeaves: the limits that hold, and not those that
// were asked for.
func TestStatusShowsWhatTheVolumeLeaves(t *testing.T) {
	const asked = 1 << 50 // no volume has it
	c := embedded(t)
	c.Spool.Limit, c.Spool.TopicShare = config.Size(asked), "0.000001%"
	r := start(t, c)
	var status struct {
		Spool struct {
			LimitBytes int64 `json:"limit_bytes"`
		}
		Limits struct {
			MaxMessageBytes int `json:"max_message_bytes"`
			MaxBatchBytes   int `json:"max_batch_bytes"`
		}
	}
	_, body := get(t, "http://"+r.side.Addresses().Admin+"/v1/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil || status.Spool.LimitBytes <= 0 || status.Spool.LimitBytes >= asked {
		t.Errorf("%v: %s", err, body)
	}
	_, body = get(t, "http://"+r.side.Addresses().Data[0]+"/v1/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil || status.Limits.MaxMessageBytes >= int(config.MiB) || status.Limits.MaxBatchBytes != status.Limits.MaxMessageBytes {
		t.Errorf("%v: %s", err, body)
	}
}
