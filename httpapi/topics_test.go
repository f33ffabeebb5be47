package httpapi_test

import (
	"testing"

	"github.com/remora-mq/remora/httpapi"
)

func TestTopicsThatAreNotAllowed(t *testing.T) {
	l := start(t, httpapi.Options{AllowedTopics: []string{"orders"}})
	l.refused(l.do("POST", "/v1/topics/bills/messages", "x"), 403, "topic-not-allowed")
	l.refused(l.do("POST", batchPath, `[{"topic":"orders","body":"x"},{"topic":"bills","body":"x"}]`, asJSON...), 403, "topic-not-allowed")
	l.accepted(l.do("POST", orders, "x"))
}

func TestTopicFasterThanItsRate(t *testing.T) {
	l := start(t, httpapi.Options{TopicRates: map[string]float64{"orders": 0.001}})
	l.accepted(l.do("POST", orders, "x"))
	a := l.do("POST", orders, "x")
	if a.status != 429 || a.code() != "rate-limited" || a.header.Get("Retry-After") == "" || a.json["stored"] != false || a.json["retryable"] != true {
		t.Errorf("answered %d %s with %v", a.status, a.raw, a.header)
	}
	l.accepted(l.do("POST", "/v1/topics/bills/messages", "x"))
	if n := len(l.spool.stored()); n != 2 {
		t.Errorf("%d stored, want 2", n)
	}
}
