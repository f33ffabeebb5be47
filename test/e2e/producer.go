package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// answerTimeout bounds one post; no answer by then is no answer.
const answerTimeout = 20 * time.Second

// producer is the application that produces. It posts until it has an answer,
// always with the same Idempotency-Key.
type producer struct {
	side  *sidecar
	facts *history
	http  *http.Client
}

func newProducer(side *sidecar, facts *history) *producer {
	return &producer{side: side, facts: facts, http: &http.Client{
		Timeout: answerTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: posters},
	}}
}

// close gives the idle connections back.
func (p *producer) close() { p.http.CloseIdleConnections() }

// round sends a list for each poster, and returns when all is answered.
func (p *producer) round(ctx context.Context, seed uint64, lists [][]job) error {
	failed := make(chan error, len(lists))
	var all sync.WaitGroup
	for i, list := range lists {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() { failed <- p.sendAll(ctx, random, list) })
	}
	all.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// sendAll posts one after the other; some once more, some in half before.
func (p *producer) sendAll(ctx context.Context, random *rand.Rand, list []job) error {
	for _, j := range list {
		if random.IntN(500) == 0 {
			p.tear(j[0])
		}
		times := 1
		if random.IntN(30) == 0 {
			times = 2
		}
		for range times {
			if err := p.post(ctx, j); err != nil {
				return err
			}
		}
		if random.IntN(200) == 0 {
			if err := p.forge(ctx, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// post sends a job until it is answered for good.
func (p *producer) post(ctx context.Context, j job) error {
	r, err := p.insist(ctx, j)
	if err == nil {
		p.judge(j, r)
	}
	return err
}

// insist repeats a request while there is no answer, or one that says to wait.
func (p *producer) insist(ctx context.Context, j job) (reply, error) {
	for {
		r, err := p.once(ctx, j)
		later := r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests || r.status == http.StatusConflict
		if err == nil && !later {
			return r, nil
		}
		p.facts.note(func() {
			if err != nil {
				p.facts.n.noAnswer++
			} else {
				p.facts.n.busy++
			}
		})
		select {
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
			return r, fmt.Errorf("post %s: %w; last: %d %s %w", j[0], context.Cause(ctx), r.status, r.body, err)
		}
	}
}

func (p *producer) once(ctx context.Context, j job) (reply, error) {
	request, err := j.request(ctx, p.side.Addresses().Data[0])
	if err != nil {
		return reply{}, err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	return reply{response.StatusCode, response.Header, body}, nil
}

// forge posts other content under the key of a message that was accepted.
func (p *producer) forge(ctx context.Context, j job) error {
	if len(j) > 1 || j[0].refusal != 0 {
		return nil
	}
	return p.post(ctx, job{j[0].refused(http.StatusUnprocessableEntity, func(s *spec) { s.tag = "forged" })})
}

// tear sends the first half of a request and hangs up: nothing of it may ever
// appear.
func (p *producer) tear(s *spec) {
	conn, err := net.Dial("tcp", p.side.Addresses().Data[0])
	if err != nil {
		return // killed
	}
	defer conn.Close()
	half := slices.Repeat([]byte("t"), s.size/2+1)
	_, err = fmt.Fprintf(conn, "POST /v1/topics/%s/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
		s.topic, len(half)+1, half)
	if err == nil {
		p.facts.note(func() { p.facts.n.torn++ })
	}
}

// story asks for all that is known of a message.
func (p *producer) story(id string) string {
	response, err := p.http.Get("http://" + p.side.Addresses().Data[0] + "/v1/messages/" + id)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}
