package diskfull

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// bodyOf is the body of message n: some are small, some are stored apart, most
// fill the disk.
func bodyOf(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 11))
	size := 1 + rng.IntN(64<<10)
	switch rng.IntN(20) {
	case 0:
		size = 1 + rng.IntN(200)
	case 1:
		size = 100<<10 + rng.IntN(400<<10)
	}
	body := make([]byte, size)
	for i := 0; i < size; i += 8 {
		v := rng.Uint64()
		for j := i; j < min(i+8, size); j++ {
			body[j] = byte(v)
			v >>= 8
		}
	}
	return body
}

// journal knows what clients were answered.
type journal struct {
	next atomic.Int64

	mu       sync.Mutex
	accepted map[int]bool
	refused  map[string]int // answers by code
	untrue   []string       // answers that nobody should get
}

func (j *journal) note(n int, a answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.accepted == nil {
		j.accepted, j.refused = map[int]bool{}, map[string]int{}
	}
	if a.status == http.StatusAccepted {
		j.accepted[n] = true
		return
	}
	j.refused[a.Code]++
	after, err := strconv.Atoi(a.after)
	ok := a.status == http.StatusServiceUnavailable && a.Stored == false && err == nil && after >= 1 && after <= 60
	switch a.Code {
	case "spool-full", "disk-low", "topic-full", "busy":
	default:
		ok = false
	}
	if !ok && len(j.untrue) < 5 {
		j.untrue = append(j.untrue, strconv.Itoa(n)+" was answered "+strings.TrimSpace(strconv.Itoa(a.status)+" "+a.Code+" "+a.Detail))
	}
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.accepted)
}

// push posts with several clients until each has met so many refusals in a row,
// or its sidecar is gone.
func (s *site) push(refusals int) {
	const clients = 8
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for row := 0; row < refusals; {
				n := int(s.sent.next.Add(1))
				a, err := s.post(n)
				if err != nil {
					return // not answered: it may be stored, or not
				}
				if s.sent.note(n, a); a.status == http.StatusAccepted {
					row = 0
				} else {
					row++
				}
			}
		})
	}
	running.Wait()
}

// offer posts one message and returns the answer's code; "" when it was accepted.
func (s *site) offer() string {
	n := int(s.sent.next.Add(1))
	a, err := s.post(n)
	if err != nil {
		return "no answer"
	}
	s.sent.note(n, a)
	return a.Code
}

// application is the handler: it compares each message with what was sent.
type application struct {
	server *httptest.Server

	mu    sync.Mutex
	got   map[int]bool
	wrong []string
}

func newApplication(t *testing.T) *application {
	a := &application{got: map[int]bool{}}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	return a
}

// ServeHTTP takes a delivery.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest) // the sidecar is gone
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(r.Header.Get("MQ-Property"), "number="))
	same := err == nil && bytes.Equal(body, bodyOf(n))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.got[n] = true; !same {
		a.wrong = append(a.wrong, r.Header.Get("MQ-Property"))
	}
}

// missing lists accepted messages that the handler has not got.
func (s *site) missing() (all []int) {
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	s.sent.mu.Lock()
	defer s.sent.mu.Unlock()
	for n := range s.sent.accepted {
		if !s.app.got[n] {
			all = append(all, n)
		}
	}
	return all
}

// settle waits until a running sidecar has delivered all that was accepted, and
// compares.
func (l *life) settle() {
	l.t.Helper()
	l.eventually("all that was accepted is at the handler", func() bool { return len(l.missing()) == 0 })
	l.eventually("the spool is empty", func() bool {
		led, err := l.ledger()
		return err == nil && led.Balanced && led.held() == 0
	})
	led, err := l.ledger()
	if err != nil || !led.Balanced || led.Total.Lost > 0 || int(led.Total.Accepted) < l.sent.count() {
		l.t.Errorf("ledger %+v, %v; %d were answered with 202", led, err, l.sent.count())
	}
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	for _, n := range l.app.wrong {
		l.t.Errorf("message %s has other bytes", n)
	}
	for _, u := range l.sent.untrue {
		l.t.Error(u)
	}
}
