package ackgate

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/remora-mq/remora/message"
)

func TestKeyRules(t *testing.T) {
	d := delivery("ID")
	d.Tag = "paid"
	d.Properties = []message.Property{{Name: "order_id", Value: "7"}}
	tests := map[string]string{
		"": "id:ID", "message_id": "id:ID", "property:order_id": "property:7",
		"property:order_id+tag": "tag:4:paid:7", "property:absent": "id:ID", "property:absent+tag": "id:ID",
	}
	for rule, want := range tests {
		r, err := ParseKeyRule(rule)
		if err != nil {
			t.Errorf("%q: %v", rule, err)
			continue
		}
		if k := r.of("scope", d); k.Key != want || k.Scope != "scope" {
			t.Errorf("%q gives %q, want %q", rule, k, want)
		}
	}
	for _, rule := range []string{"order_id", "property:", "property:+tag", "messageid"} {
		if _, err := ParseKeyRule(rule); err == nil {
			t.Errorf("%q was taken", rule)
		}
	}
}

func TestFingerprintIsOfTheEffect(t *testing.T) {
	base := func() *message.Delivery {
		d := delivery("a")
		d.Tag, d.Keys, d.OrderingKey, d.ContentType = "t", []string{"k"}, "o", "text/plain"
		d.Properties = []message.Property{{Name: "p", Value: "v"}}
		return d
	}
	same := map[string]func(d *message.Delivery){
		"identity": func(d *message.Delivery) { d.Identity, d.ID = "b", message.ID{1} },
		"attempt":  func(d *message.Delivery) { d.Attempt, d.Offset, d.Queue, d.BrokerMessageID = 9, 9, "q", "m" },
		"trace":    func(d *message.Delivery) { d.TraceParent, d.TraceState = "x", "y" },
	}
	other := map[string]func(d *message.Delivery){
		"body":         func(d *message.Delivery) { d.Body = []byte("x") },
		"topic":        func(d *message.Delivery) { d.Topic = "x" },
		"tag":          func(d *message.Delivery) { d.Tag = "x" },
		"keys":         func(d *message.Delivery) { d.Keys = []string{"k", "l"} },
		"ordering key": func(d *message.Delivery) { d.OrderingKey = "x" },
		"content type": func(d *message.Delivery) { d.ContentType = "x" },
		"property":     func(d *message.Delivery) { d.Properties[0].Value = "x" },
	}
	for name, change := range same {
		d := base()
		if change(d); fingerprint(d) != fingerprint(base()) {
			t.Errorf("%s changes the fingerprint", name)
		}
	}
	for name, change := range other {
		d := base()
		if change(d); fingerprint(d) == fingerprint(base()) {
			t.Errorf("%s does not change the fingerprint", name)
		}
	}
}

// Fingerprints are stored: those of an earlier version are those of this one.
func TestFingerprintsStay(t *testing.T) {
	small := delivery("a")
	small.Tag, small.Keys, small.OrderingKey, small.ContentType, small.ContentEncoding = "t", []string{"k", "l"}, "o", "text/plain", "br"
	small.Properties = []message.Property{{Name: "p", Value: "v"}, {Name: "q"}}
	large := *small
	large.Body = bytes.Repeat([]byte("a"), 1<<20)
	for want, d := range map[string]*message.Delivery{
		"79b1c50799177bf2e717d61fa6715059": small,
		"ed8fedb8885dbccecf23eadfb5d79c96": &large,
		"f13ee6ed54ea2aae9fc49a9faeb5da6e": {},
	} {
		if got := fmt.Sprintf("%x", fingerprint(d)); got != want {
			t.Errorf("of %d bytes: %s, want %s", len(d.Body), got, want)
		}
	}
}
