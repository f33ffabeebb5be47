package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// parseItem reads one item of a batch into d: the same options as a publish, in JSON.
func parseItem(d *spool.Draft, element json.RawMessage) (publication, error) {
	members, err := parseObject(element)
	return readItem(d, members, err)
}

func readItem(d *spool.Draft, members []member, err error) (publication, error) {
	if err != nil {
		return publication{}, invalidItem("the item is not a JSON object: %s", detailOf(err))
	}
	it := item{publication: publication{Draft: d}}
	for _, m := range members {
		if err := it.set(m); err != nil {
			return publication{}, err
		}
	}
	if it.hasBody && it.hasBase64 {
		return publication{}, invalidItem("both body and body_base64 are given; send one of them")
	}
	it.media = mediaType(it.ContentType)
	return it.publication, checkSchedule(it.delay, it.deliverAt, it.ttl)
}

type item struct {
	publication
	hasBody, hasBase64 bool
}

// set takes one member.
func (it *item) set(m member) error {
	if m.leftOut(itemNames) {
		return nil
	}
	msg := &it.Message
	switch m.name {
	case "topic":
		return m.text(&msg.Topic)
	case "body":
		return it.setBody(m)
	case "body_base64":
		return it.setBase64(m)
	case "tag":
		return m.text(&msg.Tag)
	case "keys":
		return it.setKeys(m)
	case "ordering_key":
		return m.text(&msg.OrderingKey)
	case "properties":
		return it.setProperties(m)
	case "content_type":
		return m.text(&msg.ContentType)
	case "idempotency_key":
		return it.setKey(m)
	case "delay":
		return m.text(&it.delay)
	case "deliver_at":
		return m.text(&it.deliverAt)
	case "ttl":
		return m.text(&it.ttl)
	}
	return invalidItem("there is no option named %.100q", m.name)
}

func (it *item) setBody(m member) error {
	it.hasBody = true
	if plainString(m.value) {
		it.Body = bytes.Clone(m.value[1 : len(m.value)-1])
		return nil
	}
	var text string
	if err := m.text(&text); err != nil {
		return err
	}
	it.Body = []byte(text)
	return nil
}

func (it *item) setBase64(m member) (err error) {
	var text string
	if err = m.text(&text); err != nil {
		return err
	}
	if it.Body, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
		return invalidItem("body_base64 is not standard base64 with padding")
	}
	it.hasBase64 = true
	return nil
}

// setKeys reads no more keys than a message can have: what they take in memory is many
// times their text.
func (it *item) setKeys(m member) error {
	if m.value[0] != '[' {
		return invalidItem("%.100q is not an array of strings", m.name)
	}
	it.Keys = nil
	left := message.MaxProperties
	return elementsOf(m.value, func(element json.RawMessage) error {
		key, err := stringOf(element)
		if err != nil {
			return invalidItem("%.100q is not an array of strings", m.name)
		}
		if left -= len(key) + 1; left < 0 {
			return &message.Invalid{Code: "properties-too-large", Detail: fmt.Sprintf("the keys have more than %d bytes together", message.MaxProperties), Limit: message.MaxProperties}
		}
		it.Keys = append(it.Keys, key)
		return nil
	})
}

func (it *item) setKey(m member) error {
	if err := m.text(&it.DedupeKey); err != nil {
		return err
	}
	return checkKey(it.DedupeKey)
}

func (it *item) setProperties(m member) error {
	members, err := membersOf(m.value)
	if err != nil {
		return invalidItem("properties is not an object: %s", detailOf(err))
	}
	set := map[string]string{}
	for _, p := range members {
		var value string
		if err := p.text(&value); err != nil {
			return err
		}
		set[p.name] = value
	}
	it.Properties = propertiesOf(set)
	return nil
}

func (m member) text(into *string) (err error) {
	if plainString(m.value) {
		*into, err = stringOf(m.value)
		return err
	}
	if json.Unmarshal(m.value, into) != nil {
		return invalidItem("%.100q is not a string", m.name)
	}
	return nil
}

func invalidItem(format string, args ...any) error {
	return problem.New(problem.InvalidItem, format, args...)
}
