package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
)

// Media types of the CloudEvents HTTP binding.
const (
	typeCloudEvent      = "application/cloudevents+json"
	typeCloudEventBatch = "application/cloudevents-batch+json"
)

// mediaType returns the type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// readCloudEvent reads the attributes of binary mode: headers named ce-…,
// percent-encoded. With a structured event in the body they are copies of it,
// and left to it.
func readCloudEvent(r *request, p *publication) error {
	if strings.HasPrefix(p.media, "application/cloudevents") {
		if p.media != typeCloudEvent && p.media != typeCloudEventBatch {
			return problem.New(problem.UnsupportedMedia, "of the CloudEvents formats, %s and %s are understood", typeCloudEvent, typeCloudEventBatch)
		}
		return uncompressed(p.ContentEncoding)
	}
	if !r.fields.has(nameCloudEvent) {
		return nil
	}
	set := map[string]string{}
	for i, h := range r.fields.all {
		if h.is != nameCloudEvent {
			continue
		}
		name := strings.TrimPrefix(r.fields.name(i), "ce-")
		value, err := url.PathUnescape(r.fields.value(i))
		if _, twice := set[name]; err != nil || twice || !isAttributeName(name) {
			return invalidEvent("the header %.100q is given twice, misnamed or not percent-encoded correctly", r.fields.name(i))
		}
		set[name] = value
	}
	p.cloudEvent = propertiesOf(set)
	return checkEvent(set)
}

// uncompressed refuses what would have to be decoded to be understood.
func uncompressed(contentEncoding string) error {
	if contentEncoding == "" || strings.EqualFold(contentEncoding, "identity") {
		return nil
	}
	return problem.New(problem.UnsupportedMedia, "a body of this type has to be read here, and Content-Encoding %.40q is never decoded; send it plain", contentEncoding)
}

func isAttributeName(name string) bool {
	return name != "" && name != "data" && name != "datacontenttype" &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func checkEvent(attributes map[string]string) error {
	for _, required := range []string{"specversion", "id", "source", "type"} {
		if attributes[required] == "" {
			return invalidEvent("the attribute %s is missing or empty", required)
		}
	}
	if v := attributes["specversion"]; v != "1.0" {
		return invalidEvent("specversion is %.20q; 1.0 is understood", v)
	}
	return nil
}

func invalidEvent(format string, args ...any) error {
	return problem.New(problem.InvalidCloudEvent, format, args...)
}

// structuredEvent checks a JSON event and returns the key derived from it.
func structuredEvent(body []byte) (key string, err error) {
	object, err := parseObject(body)
	if err != nil {
		return "", invalidEvent("the body is not a JSON object: %s", detailOf(err))
	}
	attributes := map[string]string{}
	for _, m := range object {
		var text string
		if json.Unmarshal(m.value, &text) == nil {
			attributes[m.name] = text
		}
	}
	return eventKey(attributes["source"], attributes["id"]), checkEvent(attributes)
}

// eventKey is the dedupe key of an event without an idempotency key. Its line
// break keeps it apart from every key that a client can choose.
func eventKey(source, id string) string {
	key := "ce\n" + source + "\n" + id
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "ce\n" + hex.EncodeToString(sum[:])
}

// asStructured makes a structured event of an event in binary mode that has no
// data: RocketMQ cannot store an empty body. What such an event must not carry as
// properties it must not have here either: JSON would alter some of it in silence.
func asStructured(m *message.Message, attributes []message.Property) error {
	if err := uncompressed(m.ContentEncoding); err != nil {
		return err
	}
	if m.ContentType != "" {
		attributes = append(slices.Clone(attributes), message.Property{Name: "datacontenttype", Value: m.ContentType})
	}
	if err := new(message.Message).SetCloudEvent(attributes); err != nil {
		return err
	}
	object := map[string]string{}
	for _, a := range attributes {
		object[a.Name] = a.Value
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(object); err != nil {
		panic(err) // a map of strings always encodes
	}
	m.Body = bytes.TrimSpace(b.Bytes())
	m.ContentType = typeCloudEvent
	return nil
}

// attribute returns the value of an attribute in binary mode.
func attribute(attributes []message.Property, name string) string {
	i := slices.IndexFunc(attributes, func(p message.Property) bool { return p.Name == name })
	if i < 0 {
		return ""
	}
	return attributes[i].Value
}
