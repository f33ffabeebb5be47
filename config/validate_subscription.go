package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// problems looks at one subscription; d is what all have in common of dedupe.
func (s Subscription) problems(p *Problems, path string, d Dedupe) {
	s.pulled(p, path)
	s = s.WithDefaults(d.Window)
	if s.Name == "" {
		p.addf(path+".name", "the subscription has no name")
	} else {
		p.group(path+".group", s.Group)
	}
	p.topic(path+".topic", s.Topic)
	s.handler(p, path)
	s.Dedupe.problems(p, path+".dedupe", d, s.Timeout)
	if len(s.Filter.Tags) > 0 && s.Filter.SQL != "" {
		p.addf(path+".filter", "filter by tags or by sql, not by both")
	}
	p.within(path+".concurrency", s.Concurrency, 1, 10_000)
	p.within(path+".timeout", s.Timeout, 10*Millisecond, 24*Hour)
	p.within(path+".retry.max_attempts", s.Retry.MaxAttempts, 1, 1_000)
	p.backoff(path+".retry", s.Retry.Initial, s.Retry.Max)
	s.exhausted(p, path+".retry.on_exhausted")
	s.instance(p, path)
	p.atLeast(path+".max_hold", s.MaxHold, Second)
	p.within(path+".max_held", s.MaxHeld, 1, 24) // of more the RocketMQ client fetches no further ones
	if _, _, err := s.Start(); err != nil {
		p.addf(path+".from", "%v", err)
	}
	for _, status := range s.AckStatuses {
		if status == 202 || status < 200 || status > 299 {
			p.addf(path+".ack_statuses", "%d cannot mean that a message is done; only a 2xx other than 202 can", status)
		}
	}
}

func (s Subscription) exhausted(p *Problems, path string) {
	switch s.Retry.OnExhausted {
	case ExhaustedDeadLetter:
	case ExhaustedBlock:
		if !s.Ordered {
			p.addf(path, "only an ordering key can be blocked: set ordered: true, or leave the key out")
		}
	default:
		p.addf(path, "%q is neither block nor dead-letter", s.Retry.OnExhausted)
	}
}

// instance checks the group that a sidecar of a spool will have.
func (s Subscription) instance(p *Problems, path string) {
	const anySpool = "0123456789"
	switch of := s.OfInstance(anySpool); {
	case s.Instance != "" && !s.Broadcast:
		p.addf(path+".instance", "names this sidecar of a subscription that broadcasts: set broadcast: true, or leave the key out")
	case strings.IndexFunc(s.Instance, illegal) >= 0:
		p.addf(path+".instance", "the instance %q has a character other than letters, digits, '_', '-' and '%%'", s.Instance)
	case s.Broadcast && len(s.Group) <= maxGroup && len(of.Group) > maxGroup:
		p.addf(path+".group", "with its instance the group is %s, of %d characters; at most %d are allowed", of.Group, len(of.Group), maxGroup)
	}
}

// pulled refuses what is about a handler, where there is none.
func (s Subscription) pulled(p *Problems, path string) {
	about := map[string]bool{"remote": s.Remote, "readiness": s.Readiness != "", "timeout": s.Timeout != 0, "ack_statuses": len(s.AckStatuses) > 0, "signing_secret_file": s.SigningSecretFile != ""}
	for key, set := range about {
		if set && s.Handler == "" {
			p.addf(path+"."+key, "is about a handler, and the subscription has none: its messages are pulled; leave the key out, or write the handler's URL")
		}
	}
}

func (s Subscription) handler(p *Problems, path string) {
	if s.Handler != "" { // else its messages are pulled
		s.local(p, path+".handler", s.Handler, "http://127.0.0.1:8080/on-order")
	}
	if s.Readiness != "" {
		s.local(p, path+".readiness", s.Readiness, "http://127.0.0.1:8080/ready")
	}
}

// local refuses what is no URL of the application beside us; remote ones are
// allowed by remote.
func (s Subscription) local(p *Problems, path, text, example string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		p.addf(path, "this is not a URL: %v", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		p.addf(path, "%q is not an absolute http or https URL, as %s", u.Redacted(), example)
	case u.User != nil:
		p.addf(path, "the URL carries credentials; they are not supported")
	case !s.Remote:
		if why := notLocal(u.Hostname()); why != "" {
			p.addf(path, "%s; run the handler beside the sidecar, or set remote: true", why)
		}
	}
}

// Start tells where a new group starts: at the latest message, at a time, or
// (false and zero) at the first.
func (s Subscription) Start() (latest bool, at time.Time, err error) {
	switch s.From {
	case "", "first":
		return false, time.Time{}, nil
	case "latest":
		return true, time.Time{}, nil
	}
	at, err = time.Parse(time.RFC3339, s.From)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("%q is neither first, latest nor a time, as 2026-01-02T03:04:05Z", s.From)
	}
	return false, at, nil
}

// topic is the rule of message.ValidTopic for what can be consumed; retry and
// dead-letter topics of other groups are included.
func (p *Problems) topic(path, topic string) {
	switch {
	case topic == "":
		p.addf(path, "the subscription has no topic")
	case len(topic) > 255:
		p.addf(path, "the topic has %d characters; at most 255 are allowed", len(topic))
	case strings.IndexFunc(topic, illegal) >= 0:
		p.addf(path, "the topic %q has a character other than letters, digits, '_', '-' and '%%'", topic)
	}
}

const maxGroup = 100 // characters

func (p *Problems) group(path, group string) {
	switch {
	case len(group) > maxGroup:
		p.addf(path, "the group has %d characters; at most %d are allowed", len(group), maxGroup)
	case strings.IndexFunc(group, illegal) >= 0:
		p.addf(path, "the group %q has a character other than letters, digits, '_', '-' and '%%'", group)
	}
}

func illegal(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-%", r))
}

// notLocal says why a host is not beside us; "": it is.
func notLocal(host string) string {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return ""
	}
	return fmt.Sprintf("%s is not this host", host)
}
