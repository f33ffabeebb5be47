package ackgate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/message"
)

// KeyRule says what two deliveries of one effect have in common. The zero rule
// is the message ID.
type KeyRule struct {
	property string
	tag      bool // the tag too
}

// ParseKeyRule reads "message_id", "property:NAME" or "property:NAME+tag".
func ParseKeyRule(text string) (KeyRule, error) {
	if text == "" || text == "message_id" {
		return KeyRule{}, nil
	}
	name, isProperty := strings.CutPrefix(text, "property:")
	name, tag := strings.CutSuffix(name, "+tag")
	if !isProperty || name == "" {
		return KeyRule{}, fmt.Errorf(`dedupe key %q: write message_id, property:NAME or property:NAME+tag`, text)
	}
	return KeyRule{property: name, tag: tag}, nil
}

// of returns the key of a delivery. A property that is absent or empty gives
// the message ID: never one key for all messages without it.
func (r KeyRule) of(scope string, d *message.Delivery) dedupe.Key {
	value := ""
	if r.property != "" {
		value = d.Property(r.property)
	}
	switch {
	case value == "":
		return dedupe.Key{Scope: scope, Key: "id:" + d.Identity}
	case r.tag:
		return dedupe.Key{Scope: scope, Key: fmt.Sprintf("tag:%d:%s:%s", len(d.Tag), d.Tag, value)}
	default:
		return dedupe.Key{Scope: scope, Key: "property:" + value}
	}
}

// fingerprint hashes what the handler's effect depends on: all but identity,
// time and trace context. It is stored, so its layout must not change: counts
// and texts, each text with its length in front.
func fingerprint(d *message.Delivery) dedupe.Fingerprint {
	h := sha256.New()
	texts := func(all ...string) {
		b := binary.AppendUvarint(nil, uint64(len(all)))
		for _, s := range all {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
		h.Write(b)
	}
	texts(d.Topic, d.Tag, d.OrderingKey, d.ContentType, d.ContentEncoding)
	texts(d.Keys...)
	for _, p := range d.Properties {
		texts(p.Name, p.Value)
	}
	texts()
	h.Write(d.Body)
	return dedupe.Fingerprint(h.Sum(nil)[:16])
}
