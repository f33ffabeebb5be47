package ackgate

import (
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
