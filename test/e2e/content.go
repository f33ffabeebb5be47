package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// content is all that has to arrive as it was sent.
type content struct {
	topic, tag, orderingKey, contentType, traceParent string

	keys       []string
	properties []property // sorted by name
	body       []byte
}

type property struct{ name, value string }

func sortProperties(all []property) {
	slices.SortFunc(all, func(a, b property) int { return strings.Compare(a.name, b.name) })
}

// digest is the same for the same content only: each part has its length, or
// its count, in front.
type digest [sha256.Size]byte

func (c *content) digest() (d digest) {
	h := sha256.New()
	part := func(text string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	count := func(n int) { h.Write(binary.AppendUvarint(nil, uint64(n))) }
	for _, text := range []string{c.topic, c.tag, c.orderingKey, c.contentType, c.traceParent} {
		part(text)
	}
	count(len(c.keys))
	for _, k := range c.keys {
		part(k)
	}
	count(len(c.properties))
	for _, p := range c.properties {
		part(p.name)
		part(p.value)
	}
	h.Write(c.body)
	return digest(h.Sum(nil))
}

// String shows all but the body, to compare what differs.
func (c *content) String() string {
	return fmt.Sprintf("topic %s, tag %q, ordering key %q, content type %q, trace %q, keys %q, properties %q, body of %d B",
		c.topic, c.tag, c.orderingKey, c.contentType, c.traceParent, c.keys, c.properties, len(c.body))
}

// delivered reads the content of a call of the handler.
func delivered(header http.Header, body []byte) content {
	c := content{
		topic:       header.Get("Mq-Topic"),
		tag:         header.Get("Mq-Tag"),
		orderingKey: header.Get("Mq-Ordering-Key"),
		contentType: header.Get("Content-Type"),
		traceParent: header.Get("Traceparent"),
		body:        body,
	}
	if keys := header.Get("Mq-Key"); keys != "" {
		c.keys = strings.Split(keys, ",")
	}
	for _, p := range header.Values("Mq-Property") {
		name, value, _ := strings.Cut(p, "=")
		c.properties = append(c.properties, property{unescape(name), unescape(value)})
	}
	sortProperties(c.properties)
	return c
}

// unescape leaves text as it is where it is not percent-encoded: the digest
// will tell.
func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
