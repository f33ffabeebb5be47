package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// reply is an answer of the data listener.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// receipt is what an answer says of a message.
type receipt struct {
	ID        string
	Topic     string
	State     string
	Stored    bool
	Confirmed bool
	Duplicate bool
	Broker    struct {
		Queue  string
		Offset int64
	}
}

// judge notes an answer, and what is wrong with it.
func (p *producer) judge(j job, r reply) {
	if r.status/100 != 2 {
		p.judgeRefusal(j, r)
		return
	}
	receipts, err := readReceipts(j, r.body)
	if err != nil {
		p.facts.complain("%s: cannot read the receipt %.200q: %v", j[0], r.body, err)
		return
	}
	p.judgeStatus(j, r, receipts[0])
	p.facts.note(func() {
		if len(j) > 1 {
			p.facts.n.batches++
		}
	})
	for i, got := range receipts {
		if !got.Stored || got.Topic != j[i].topic {
			p.facts.complain("%s: receipt says stored %v, topic %s", j[i], got.Stored, got.Topic)
		}
		p.facts.accept(j[i], got.ID)
	}
}

// judgeStatus: 200 is only for a confirmation that was waited for.
func (p *producer) judgeStatus(j job, r reply, got receipt) {
	switch {
	case r.status == http.StatusAccepted:
	case r.status != http.StatusOK || len(j) > 1 || j[0].wait == 0 || !got.Confirmed || got.Broker.Queue == "" ||
		r.header.Get("Preference-Applied") != "wait":
		p.facts.complain("%s: answer %d to wait %v, with receipt %+v", j[0], r.status, j[0].wait, got)
	default:
		p.facts.note(func() { p.facts.n.waited++ })
	}
	replayed := r.header.Get("Idempotency-Replayed") == "true"
	if len(j) == 1 && replayed != got.Duplicate {
		p.facts.complain("%s: Idempotency-Replayed %v, duplicate %v", j[0], replayed, got.Duplicate)
	}
}

func (p *producer) judgeRefusal(j job, r reply) {
	var problem struct{ Stored any }
	want := j[0].refusal
	asWanted := want == r.status || want == -1 && r.status/100 == 4
	if err := json.Unmarshal(r.body, &problem); err != nil || !asWanted || problem.Stored != false {
		p.facts.complain("%s: answer %d, want %d (0: accepted): %.300s", j[0], r.status, want, r.body)
	}
	p.facts.note(func() { p.facts.n.refused++ })
}

func readReceipts(j job, body []byte) ([]receipt, error) {
	if len(j) == 1 {
		var one receipt
		err := json.Unmarshal(body, &one)
		return []receipt{one}, err
	}
	var all struct{ Messages []receipt }
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	if len(all.Messages) != len(j) {
		return nil, fmt.Errorf("%d receipts for %d messages", len(all.Messages), len(j))
	}
	return all.Messages, nil
}
