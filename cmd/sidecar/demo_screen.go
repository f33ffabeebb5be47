package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// screen shows the picture: redrawn in place on a terminal, as lines elsewhere.
type screen struct {
	out    io.Writer
	redraw bool
	paint  paint
	drawn  int // lines of the picture that stand on the terminal
}

func newScreen(out io.Writer, plain bool) *screen {
	return &screen{out: out, redraw: !plain && isTerminal(out), paint: painter(out)}
}

// end leaves the cursor below the picture.
func (s *screen) end() { s.drawn = 0 }

// draw replaces the picture.
func (s *screen) draw(lines []string) {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
	}
	fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	s.drawn = len(lines)
}

// view follows a running demo. Its goroutine ends with stop.
type view struct {
	screen  *screen
	app     *demoApp
	handler *demoHandler
	side    *ledgerReader
	began   time.Time

	mu   sync.Mutex
	said []string
	quit context.CancelFunc
	done chan struct{}
}

func (s *screen) follow(ctx context.Context, app *demoApp, handler *demoHandler, side *child) *view {
	ctx, quit := context.WithCancel(ctx)
	v := &view{
		screen: s, app: app, handler: handler, side: newLedgerReader(side.addresses), began: time.Now(),
		quit: quit, done: make(chan struct{}),
	}
	go v.run(ctx)
	return v
}

func (v *view) run(ctx context.Context) {
	defer close(v.done)
	every := time.Second
	if v.screen.redraw {
		every = 100 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.show(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the goroutine; again it does nothing.
func (v *view) stop() {
	v.quit()
	<-v.done
}

// last draws the state at the end and stops.
func (v *view) last(ledger *ledger) {
	v.stop()
	if v.screen.redraw {
		v.screen.draw(v.picture(ledger))
	}
}

// sayf adds a line to what has happened.
func (v *view) sayf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	line := fmt.Sprintf("%5.1f s  %s", time.Since(v.began).Seconds(), fmt.Sprintf(format, args...))
	v.said = append(v.said, line)
	if !v.screen.redraw {
		fmt.Fprintln(v.screen.out, line)
	}
}

func (v *view) show(ctx context.Context) {
	ledger := v.side.read(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.screen.redraw {
		v.screen.draw(v.picture(ledger))
		return
	}
	n := v.handler.counts()
	spool := "away"
	if ledger != nil {
		spool = fmt.Sprintf("%d held, %d confirmed", ledger.held(), ledger.Total.Confirmed)
	}
	fmt.Fprintf(v.screen.out, "%5.1f s  accepted %d · spool %s · handler %d handled, %d refused\n",
		time.Since(v.began).Seconds(), v.app.accepted(), spool, n.handled, n.refused)
}

// picture is the way of a message with the counts of this moment; a nil ledger
// is a sidecar that does not answer.
func (v *view) picture(ledger *ledger) []string {
	p := v.screen.paint
	n := v.handler.counts()
	state, held, confirmed := p.red("not running"), "–", "–"
	if ledger != nil {
		state, held, confirmed = p.green("running"), strconv.Itoa(ledger.held()), strconv.Itoa(ledger.Total.Confirmed)
	}
	lines := []string{
		"",
		p.bold("  Remora") + fmt.Sprintf(" · %.1f s · sidecar %s", time.Since(v.began).Seconds(), state),
		"",
		"   application                 sidecar                                   handler",
		"  ┌───────────────────┐      ┌──────────┐   ┌──────────┐   ┌─────────┐   ┌──────────────────┐",
		fmt.Sprintf("  │ posts    %8d │ POST │ spool    │   │ broker   │   │ ackgate │   │ calls   %8d │", v.app.tries.Load(), n.calls),
		fmt.Sprintf("  │ accepted %8d ├─────▶│ %8s ├──▶│ %8s ├──▶│ dedupe  ├──▶│ 200     %8d │", v.app.accepted(), held, confirmed, n.handled),
		fmt.Sprintf("  │ replayed %8d │◀ 202 │ held     │   │ confirmed│   │         │◀200 500     %8d │", v.app.replayed.Load(), n.refused),
		fmt.Sprintf("  │ no answer%8d │      └──────────┘   └──────────┘   └─────────┘   │ again   %8d │", v.app.noAnswer.Load(), n.again),
		"  └───────────────────┘                                                  └──────────────────┘",
		"  " + progress(n.handled, v.app.d.messages, 60),
		"",
	}
	return append(lines, v.said...)
}

func progress(done, all, width int) string {
	full := min(done*width/max(all, 1), width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full) + fmt.Sprintf(" %d of %d handled", done, all)
}
