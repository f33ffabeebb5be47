package message_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
)

type change func(*message.Message)

func property(name, value string) change {
	return func(m *message.Message) { m.Properties = []message.Property{{Name: name, Value: value}} }
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 256)
	cases := []struct {
		name   string
		change change
		code   string // "": valid
		limit  int64
	}{
		{"plain", func(*message.Message) {}, "", 0},
		{"full", func(m *message.Message) { *m = fullMessage() }, "", 0},

		{"topic of 127", func(m *message.Message) { m.Topic = long[:127] }, "", 0},
		{"topic of 128", func(m *message.Message) { m.Topic = long[:128] }, "invalid-topic", 127},
		{"no topic", func(m *message.Message) { m.Topic = "" }, "invalid-topic", 0},
		{"topic, all kinds of characters", func(m *message.Message) { m.Topic = "aZ09_-" }, "", 0},
		{"topic with a percent sign", func(m *message.Message) { m.Topic = "%RETRY%g" }, "invalid-topic", 0},
		{"topic that is not ASCII", func(m *message.Message) { m.Topic = "müll" }, "invalid-topic", 0},
		{"topic of the broker", func(m *message.Message) { m.Topic = "TBW102" }, "invalid-topic", 0},
		{"topic of the broker, by prefix", func(m *message.Message) { m.Topic = "Rmq_Sys_x" }, "invalid-topic", 0},

		{"body of one byte", func(m *message.Message) { m.Body = []byte{0} }, "", 0},
		{"body of the limit", func(m *message.Message) { m.Body = make([]byte, 1000) }, "", 0},
		{"body over the limit", func(m *message.Message) { m.Body = make([]byte, 1001) }, "message-too-large", 1000},
		{"no body", func(m *message.Message) { m.Body = nil }, "empty-body", 0},

		{"tag of 255", func(m *message.Message) { m.Tag = long[:255] }, "", 0},
		{"tag of 256", func(m *message.Message) { m.Tag = long }, "invalid-tag", 255},
		{"tag in UTF-8", func(m *message.Message) { m.Tag = "é你" }, "", 0},
		{"tag with a blank", func(m *message.Message) { m.Tag = "a b" }, "invalid-tag", 0},
		{"tag with a tab", func(m *message.Message) { m.Tag = "a\tb" }, "invalid-tag", 0},
		{"tag with a line break", func(m *message.Message) { m.Tag = "a\r\nX: y" }, "invalid-tag", 0},
		{"tag with a bar", func(m *message.Message) { m.Tag = "a|b" }, "invalid-tag", 0},
		{"tag for all", func(m *message.Message) { m.Tag = "*" }, "invalid-tag", 0},
		{"tag, bad UTF-8", func(m *message.Message) { m.Tag = "\xff" }, "invalid-tag", 0},

		{"keys", func(m *message.Message) { m.Keys = []string{"a", "b"} }, "", 0},
		{"empty key", func(m *message.Message) { m.Keys = []string{"a", ""} }, "invalid-key", 0},
		{"key with a blank", func(m *message.Message) { m.Keys = []string{"a b"} }, "invalid-key", 0},
		{"key with a line break", func(m *message.Message) { m.Keys = []string{"a\nb"} }, "invalid-key", 0},
		{"key of 256", func(m *message.Message) { m.Keys = []string{long} }, "invalid-key", 255},

		{"ordering key with a blank", func(m *message.Message) { m.OrderingKey = "customer 7" }, "", 0},
		{"ordering key with a line break", func(m *message.Message) { m.OrderingKey = "a\nb" }, "invalid-ordering-key", 0},
		{"ordering key of 256", func(m *message.Message) { m.OrderingKey = long }, "invalid-ordering-key", 255},

		{"content type with a line break", func(m *message.Message) { m.ContentType = "a/b\r\nX: y" }, "invalid-content-type", 0},
		{"content encoding with a line break", func(m *message.Message) { m.ContentEncoding = "\n" }, "invalid-content-encoding", 0},
		{"traceparent with a line break", func(m *message.Message) { m.TraceParent = "\n" }, "invalid-trace-context", 0},
		{"tracestate, bad UTF-8", func(m *message.Message) { m.TraceState = "\xc3\x28" }, "invalid-trace-context", 0},

		{"property", property("OrderId", "7 = ü\t\r\n"), "", 0},
		{"property, empty name", property("", "x"), "invalid-property", 0},
		{"property, empty value", property("a", ""), "invalid-property", 0},
		{"property, name with a blank", property("a b", "x"), "invalid-property", 0},
		{"property, name with a tab", property("a\tb", "x"), "invalid-property", 0},
		{"property, name with a line break", property("a\nb", "x"), "invalid-property", 0},
		{"property, name with an equals sign", property("a=b", "x"), "invalid-property", 0},
		{"property, name of 256", property(long, "x"), "invalid-property", 255},
		{"property, separator 1 in the value", property("a", "x\x01TRAN_MSG"), "invalid-property", 0},
		{"property, separator 2 in the value", property("a", "x\x02"), "invalid-property", 0},
		{"property, separator in the name", property("a\x01b", "x"), "invalid-property", 0},
		{"property, DEL", property("a", "\x7f"), "invalid-property", 0},
		{"property, bad UTF-8", property("a", "\xff"), "invalid-property", 0},
		{"property twice", func(m *message.Message) {
			m.Properties = []message.Property{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}
		}, "invalid-property", 0},
		{"property that is reserved", property("UNIQ_KEY", "x"), "reserved-property", 0},
		{"properties of the limit", property("a", strings.Repeat("v", message.MaxProperties-3)), "", 0},
		{"properties over the limit", property("a", strings.Repeat("v", message.MaxProperties-2)), "properties-too-large", message.MaxProperties},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := message.Message{Topic: "t", Body: []byte("x")}
			c.change(&m)
			err := m.Validate(1000)
			var invalid *message.Invalid
			switch {
			case c.code == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.code != "" && (!errors.As(err, &invalid) || invalid.Code != c.code || invalid.Limit != c.limit || invalid.Detail == ""):
				t.Errorf("got %#v, want %s with limit %d", err, c.code, c.limit)
			}
		})
	}
}

// TestValidateReturnsNoTypedNil: an interface that holds a nil *Invalid is not nil.
func TestValidateReturnsNoTypedNil(t *testing.T) {
	m := fullMessage()
	if err := m.Validate(0); err != nil {
		t.Errorf("valid, yet err = %#v", err)
	}
	if err := m.SetCloudEvent([]message.Property{{Name: "id", Value: "1"}}); err != nil {
		t.Errorf("valid, yet err = %#v", err)
	}
}

func TestLimitOfTheBody(t *testing.T) {
	m := message.Message{Topic: "t", Body: make([]byte, message.MaxBody+1)}
	for _, limit := range []int{0, -1, message.MaxBody + 1, 1 << 40} {
		var invalid *message.Invalid
		if !errors.As(m.Validate(limit), &invalid) || invalid.Limit != message.MaxBody {
			t.Errorf("limit %d lets more through than RocketMQ takes", limit)
		}
	}
	m.Body = m.Body[1:]
	if err := m.Validate(0); err != nil {
		t.Errorf("the largest body: %v", err)
	}
}

// TestReservedNames: what RocketMQ or Remora gives a meaning, in any case.
func TestReservedNames(t *testing.T) {
	for _, name := range []string{
		"KEYS", "TAGS", "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP", "UNIQ_KEY", "CONSUME_START_TIME",
		"INSTANCE_ID", "SHARDING_KEY", "TIMER_DELAY_SEC", "TIMER_DELIVER_MS", "TIMER_DEL_UNIQKEY", "__MESSAGE_KEY", "__STARTDELIVERTIME",
		"INNER_MULTI_DISPATCH", "INNER_BASE", "POP_CK", "CLUSTER", "TTL", "content-type", "traceparent", "remora-origin", "remora-topic-sequence", "ce-id",
	} {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if !message.Reserved(spelled) {
				t.Errorf("%s is not reserved", spelled)
			}
		}
	}
	for _, name := range []string{"order_id", "a", "tags2", "key", "delayed", "x-content-type", "cetacean", "_x", "timer"} {
		if message.Reserved(name) {
			t.Errorf("%s is reserved", name)
		}
	}
}

func TestSetCloudEvent(t *testing.T) {
	m := message.Message{Topic: "t", Body: []byte("x"), Properties: []message.Property{{Name: "a", Value: "1"}, {Name: "z", Value: "2"}}}
	own := m.Properties
	if err := m.SetCloudEvent([]message.Property{{Name: "source", Value: "/s"}, {Name: "id", Value: "7"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "1", "ce-id": "7", "ce-source": "/s", "z": "2", "ce-type": "", "b": ""} {
		if got := m.Property(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(own) != 2 || own[0].Name != "a" || own[1].Name != "z" {
		t.Errorf("the caller's properties have changed: %v", own)
	}
	for value, code := range map[string]string{
		"": "invalid-cloudevent", "\x01": "invalid-cloudevent", "\xff": "invalid-cloudevent", strings.Repeat("v", message.MaxProperties): "properties-too-large",
	} {
		m := message.Message{Topic: "t"}
		var invalid *message.Invalid
		if err := m.SetCloudEvent([]message.Property{{Name: "id", Value: value}}); !errors.As(err, &invalid) || invalid.Code != code {
			t.Errorf("a value of %d bytes: %v, want %s", len(value), err, code)
		}
	}
}

func TestSizeCountsEveryText(t *testing.T) {
	m := fullMessage()
	want := len(m.Body) + len(m.Topic) + len(m.Tag) + len(m.OrderingKey) + len(m.ContentType) + len(m.ContentEncoding) + len(m.TraceParent) + len(m.TraceState)
	want += len("a") + 1 + len("b") + 1 + len("A") + len("ü") + 2 + len("b") + len("\t\n") + 2
	if got := m.Size(); got != want {
		t.Errorf("Size = %d, want %d", got, want)
	}
}
