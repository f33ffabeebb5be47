package httpapi

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// publication is what header and query of a publish say, or an item of a batch,
// checked as far as it can be without the body.
type publication struct {
	*spool.Draft // that it becomes; draft completes it

	media                 string // of ContentType
	delay, deliverAt, ttl string // as sent; see schedule.go

	wait       time.Duration // 0: answer as soon as it is durable
	digests    []digest
	cloudEvent []message.Property // attributes of binary mode; nil: no CloudEvent in binary mode
}

func (r *request) publication() (*publication, error) {
	if err := knownOptions(r); err != nil {
		return nil, err
	}
	p := &r.asked
	p.Draft = &r.drafts[0]
	p.ContentType = r.fields.get(nameContentType)
	p.ContentEncoding = r.fields.list(nameContentEncoding)
	p.TraceParent = r.fields.get(nameTraceParent)
	p.TraceState = r.fields.list(nameTraceState)
	p.media = mediaType(p.ContentType)
	for _, o := range options {
		if len(r.query) == 0 && !r.fields.has(o.of) { // most have none
			continue
		}
		if err := o.read(r, p); err != nil {
			return nil, err
		}
	}
	return p, readCloudEvent(r, p)
}

// options are read of a request that has one of their headers, or a query.
var options = [...]struct {
	of   name
	read func(*request, *publication) error
}{
	{nameKey, readKey},
	{nameTag, readTag},
	{nameKeys, readKeys},
	{nameOrderingKey, readOrderingKey},
	{nameProperty, readProperties},
	{nameDelay | nameDeliverAt | nameTTL, readSchedule},
	{namePrefer, readWait},
	{nameContentDigest, readDigests},
}

func readTag(r *request, p *publication) (err error) {
	p.Tag, err = r.option(nameTag)
	return err
}

func readOrderingKey(r *request, p *publication) (err error) {
	p.OrderingKey, err = r.option(nameOrderingKey)
	return err
}

func readKeys(r *request, p *publication) error {
	given := [...][]string{r.fields.values(nil, nameKeys), r.query["key"]}
	header, query := splitList(given[0]), splitList(given[1])
	for i, keys := range [...][]string{header, query} {
		if len(given[i]) > 0 && len(keys) == 0 {
			return empty(nameKeys)
		}
	}
	if len(header) > 0 && len(query) > 0 && !slices.Equal(header, query) {
		return disagree(nameKeys)
	}
	p.Keys = header
	if len(header) == 0 {
		p.Keys = query
	}
	return nil
}

// splitList reads a comma list, or several.
func splitList(values []string) []string {
	var items []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

func readProperties(r *request, p *publication) error {
	set := map[string]string{}
	for _, v := range r.fields.values(nil, nameProperty) {
		name, value, err := parseProperty(v)
		if err == nil {
			err = addProperty(set, name, value)
		}
		if err != nil {
			return err
		}
	}
	for param, values := range r.query {
		name, ok := strings.CutPrefix(param, propertyParam)
		if !ok {
			continue
		}
		for _, v := range values {
			if err := addProperty(set, name, v); err != nil {
				return err
			}
		}
	}
	p.Properties = propertiesOf(set)
	return nil
}

// parseProperty reads name=value, the value percent-encoded.
func parseProperty(s string) (name, value string, err error) {
	name, value, found := strings.Cut(s, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return "", "", problem.New(problem.InvalidProperty, "MQ-Property %.100q is not name=value", s)
	}
	if value, err = url.PathUnescape(strings.TrimSpace(value)); err != nil {
		return "", "", problem.New(problem.InvalidProperty, "the value of the property %.100q is not percent-encoded correctly; write %% as %%25", name)
	}
	return name, value, nil
}

func addProperty(set map[string]string, name, value string) error {
	if old, given := set[name]; given && old != value {
		return invalidOption("the property %.100q is given more than once, with different values", name)
	}
	set[name] = value
	return nil
}

func propertiesOf(set map[string]string) []message.Property {
	if len(set) == 0 {
		return nil
	}
	props := make([]message.Property, 0, len(set))
	for name, value := range set {
		props = append(props, message.Property{Name: name, Value: value})
	}
	message.SortProperties(props)
	return props
}
