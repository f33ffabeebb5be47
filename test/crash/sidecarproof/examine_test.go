package sidecarproof

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// kind is what a finding means.
type kind string

const (
	unusable kind = "unusable" // the sidecar does not come up or does not answer
	lost     kind = "lost"     // accepted and gone
	changed  kind = "changed"  // other bytes
	twice    kind = "twice"    // one message under two IDs, or handled twice
	phantom  kind = "phantom"  // never sent, refused, or cancelled
	untrue   kind = "untrue"   // an answer that does not hold
	ledgers  kind = "ledger"   // it does not balance
)

type finding struct {
	kind kind
	text string
}

// state is what a crash left, and what clients knew by then.
type state struct {
	dir   string // holds spool.dir as "data"
	what  string // where it comes from
	fates []fate
	sizes sizes
	reply *application       // that has been called before; nil: a new one
	extra []string           // more subscriptions
	asked string             // where the sidecar asks for transactions; "": nowhere
	until func(*client) bool // something else to wait for; nil: nothing
	wait  time.Duration      // for what is owed; 0: patience

	keyFile string // the spool is encrypted: no embedded broker can take its messages
}

// report is what a sidecar that was started on a state did.
type report struct {
	findings []finding
	stored   map[int]bool // messages with a key and without an answer: whether they were there
	calls    map[int][]call
	metrics  string
}

func (r *report) find(k kind, format string, args ...any) {
	const enough = 5
	if len(r.findings) < enough {
		r.findings = append(r.findings, finding{k, fmt.Sprintf(format, args...)})
	}
}

// has reports whether a finding is of the kind.
func (r *report) has(k kind) bool {
	return slices.ContainsFunc(r.findings, func(f finding) bool { return f.kind == k })
}

// examine starts a sidecar on a state, with an embedded broker and handlers for
// all topics, and compares it with what clients know. It removes the state.
func examine(t *testing.T, s state) *report {
	t.Helper()
	e := &examination{report: report{stored: map[int]bool{}}, state: s, app: s.reply}
	if e.app == nil {
		e.app = newApplication(t, s.sizes)
	}
	kept := keep(s.dir)
	side := launch(t, e.setup(), spawn(t))
	if err := side.await(); err != nil {
		e.find(unusable, "%v", err)
	} else {
		e.client = side.client
		e.compare()
	}
	side.kill()
	if e.app.server.CloseClientConnections(); s.reply == nil {
		e.app.server.Close()
	}
	if len(e.findings) > 0 {
		t.Logf("%s: %d findings; kept in %q; the sidecar's log ends:\n%s", s.what, len(e.findings), kept, side.log.tail())
	} else if kept != "" {
		_ = os.RemoveAll(kept)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
	return &e.report
}

type examination struct {
	report
	state
	*client

	app *application
}

func (e *examination) setup() setup {
	s := setup{program: shipped, dir: filepath.Join(e.dir, "data")}
	if e.keyFile != "" {
		s.unreachable, s.set = true, encryptedBy(e.keyFile)
		return s
	}
	s.subscriptions = append(subscribe(e.app), e.extra...)
	return s
}

func encryptedBy(keyFile string) []string {
	if keyFile == "" {
		return nil
	}
	return []string{"spool.encryption_key_file=" + keyFile}
}

func (e *examination) compare() {
	e.balance("before anything is asked")
	steps := []func(){e.known, e.repeat, e.deals, e.drain, e.delivered}
	if e.keyFile != "" { // the broker cannot be reached; the count of the ledger decrypts every record
		steps = []func(){e.known, e.repeat, e.deals, func() { e.balance("after all was repeated") }}
	}
	for _, step := range steps {
		if step(); len(e.findings) > 0 {
			return
		}
	}
}

// balance asks for the ledger.
func (e *examination) balance(when string) ledger {
	l, err := e.ledger()
	if err != nil {
		e.find(unusable, "ledger %s: %v", when, err)
	} else if !l.Balanced {
		e.find(ledgers, "%s it does not balance: %+v", when, l)
	}
	return l
}

// known asks for each message that was accepted.
func (e *examination) known() {
	for n, f := range e.fates {
		if f.id == "" {
			continue
		}
		r, err := e.get(f.id)
		switch {
		case err != nil:
			e.find(unusable, "message %d: %v", n, err)
		case r.Status != 200:
			e.find(lost, "message %d, accepted as %s: %d %s", n, f.id, r.Status, r.Code)
		case f.deal != "" && !f.mayBe(r.State):
			e.find(untrue, "message %d, of transaction %s, is %s; its fate is %+v", n, f.deal, r.State, f)
		case f.deal != "" && f.decision != isCommitted:
		case f.cancel == isCancelled && r.State != "cancelled":
			e.find(untrue, "message %d was cancelled and is %s", n, r.State)
		case f.cancel == notCancelled && (r.State == "cancelled" || r.Stored != true):
			e.find(lost, "message %d, accepted as %s, is %s", n, f.id, r.State)
		}
	}
}

// repeat posts each message with a key again, as a client does that got no
// answer, or lost it.
func (e *examination) repeat() {
	for n := range e.fates {
		f, m := &e.fates[n], e.sizes.message(n)
		if m.idempotency == "" || !f.sent || f.refused || f.deal != "" {
			continue
		}
		r, err := e.publish(m)
		if err != nil {
			e.find(unusable, "repeat message %d: %v", n, err)
			return
		}
		e.repeated(n, f, r)
	}
}

func (e *examination) repeated(n int, f *fate, r receipt) {
	settled := r.Status == 409 && r.Code == "idempotency-key-settled"
	switch {
	case f.cancel == isCancelled && !settled:
		e.find(untrue, "message %d was cancelled, and a repeat is answered %+v", n, r)
	case f.cancel != notCancelled && settled:
		f.cancel = isCancelled
	case !r.accepted():
		e.find(untrue, "a repeat of message %d is answered %+v", n, r)
	case f.id != "" && (r.ID != f.id || !r.Duplicate):
		e.find(twice, "message %d was accepted as %s, and a repeat is answered %+v", n, f.id, r)
	default:
		if f.id == "" {
			e.stored[n] = r.Duplicate
		}
		f.id, f.cancel = r.ID, notCancelled
	}
}

// drain waits until everything that is owed was handled, and everything that is
// held was forwarded and handled.
func (e *examination) drain() {
	deadline := time.NewTimer(cmp.Or(e.wait, patience))
	defer deadline.Stop()
	for {
		missing := e.missing()
		if len(missing) == 0 && e.settled() {
			return
		}
		select {
		case <-e.app.news:
		case <-time.After(50 * time.Millisecond): // a settle tells nobody
		case <-deadline.C:
			e.tooLate(missing)
			return
		}
	}
}

func (e *examination) tooLate(missing []int) {
	if len(missing) > 0 {
		e.find(lost, "messages %v were not handled in time", missing)
		return
	}
	l, err := e.ledger()
	switch {
	case err != nil:
		e.find(unusable, "ledger: %v", err)
	case l.held() > 0:
		e.find(lost, "%d messages were not forwarded in time", l.held())
	case l.Total.Confirmed > e.app.ids():
		e.find(lost, "%d messages were confirmed, and %d handled", l.Total.Confirmed, e.app.ids())
	case l.Total.Confirmed < e.app.ids():
		e.find(phantom, "%d messages were confirmed, and %d handled", l.Total.Confirmed, e.app.ids())
	default:
		e.find(untrue, "all is forwarded and handled, and what the test waits for did not come")
	}
}

func (e *examination) missing() (numbers []int) {
	calls, _ := e.app.seen()
	for n, f := range e.fates {
		if f.owed() && len(calls[n]) == 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// settled reports whether the broker has everything and the handlers saw all of
// it: every ID the ledger says was confirmed.
func (e *examination) settled() bool {
	l, err := e.ledger()
	return err == nil && l.held() == 0 && l.Total.Confirmed == e.app.ids() && (e.until == nil || e.until(e.client))
}

// delivered looks at what the handlers were given, and at the ledger when all
// of it is over.
func (e *examination) delivered() {
	calls, wrong := e.app.seen()
	e.calls = calls
	for _, w := range wrong {
		e.find(changed, "%s", w)
	}
	for _, n := range slices.Sorted(maps.Keys(calls)) {
		e.handled(n, calls[n])
	}
	l := e.balance("when all is forwarded")
	if ended := l.Total.Accepted - l.Total.Confirmed; l.Total.Cancelled+l.Total.RolledBack != ended {
		e.find(ledgers, "%d messages were accepted and not confirmed, %d cancelled, %d rolled back: %+v", ended, l.Total.Cancelled, l.Total.RolledBack, l)
	}
	var err error
	if e.report.metrics, err = e.client.metrics(); err != nil {
		e.find(unusable, "metrics: %v", err)
	}
}

func (e *examination) handled(n int, calls []call) {
	if n >= len(e.fates) || !e.fates[n].possible() {
		e.find(phantom, "message %d was handled; its fate is %+v", n, e.fates[min(n, len(e.fates)-1)])
		return
	}
	f := e.fates[n]
	for _, c := range calls {
		if c.id != calls[0].id || f.id != "" && c.id != f.id {
			e.find(twice, "message %d was handled under the IDs %v; its fate is %+v", n, calls, f)
			return
		}
	}
	if len(calls) > 1 && e.reply == nil {
		e.find(twice, "message %d was handled %d times", n, len(calls))
	}
}
