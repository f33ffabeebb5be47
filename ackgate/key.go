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
	var room [2 << 10]byte // most messages fit, and are no allocation
	b := appendTexts(room[:0], d.Topic, d.Tag, d.OrderingKey, d.ContentType, d.ContentEncoding)
	b = appendTexts(b, d.Keys...)
	for _, p := range d.Properties {
		b = appendTexts(b, p.Name, p.Value)
	}
	b = appendTexts(b)
	if len(b)+len(d.Body) <= len(room) {
		sum := sha256.Sum256(append(b, d.Body...))
		return dedupe.Fingerprint(sum[:16])
	}
	h := sha256.New()
	h.Write(b)
	h.Write(d.Body)
	return dedupe.Fingerprint(h.Sum(nil)[:16])
}

func appendTexts(b []byte, all ...string) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, s := range all {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}
