package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

func lostMessages(n uint64) string { return plural(n, "message was lost", "messages were lost") }

// lostTable names what each damage has cost, also when that was acknowledged.
func lostTable(w io.Writer, reports []spool.Damage) {
	named, more := 0, 0
	for i := range reports {
		d := &reports[i]
		if d.Lost == 0 {
			continue
		}
		known := ", acknowledged"
		if d.Acknowledged == nil {
			known = ", not acknowledged"
		}
		fmt.Fprintf(w, "lost: %s, found at %s%s\n", lostMessages(d.Lost), d.At.Format(time.RFC3339), known)
		for _, l := range d.Sequences {
			if named == some {
				more++
				continue
			}
			named++
			fmt.Fprintf(w, "lost: %s\n", lostText(l, d.Among))
		}
	}
	if more > 0 {
		fmt.Fprintf(w, "and %d more, see -o json\n", more)
	}
}

func lostText(l spool.Lost, among bool) string {
	topic, sequences := "a topic that is not known any more", fmt.Sprintf("sequences %d to %d", l.First, l.Last)
	if l.Topic != "" {
		topic = "topic " + printable(l.Topic)
	}
	if l.First == l.Last {
		sequences = fmt.Sprintf("sequence %d", l.First)
	}
	if among {
		sequences = "some of " + sequences
	}
	return sequences + " of " + topic
}

// whyUnbalanced says in words what a ledger lacks. A report that nobody has acknowledged
// stands among the damage, too, and is told once.
func whyUnbalanced(l *sidecar.Ledger) string {
	lost, reports := uint64(0), 0
	for i := range l.Damage.Reports {
		if d := &l.Damage.Reports[i]; d.Acknowledged == nil {
			lost, reports = lost+d.Lost, reports+1
		}
	}
	var all []string
	if reports > 0 {
		all = append(all, lostMessages(lost)+", and nobody has acknowledged that")
	}
	if n := len(l.Audit.Missing); n > 0 {
		all = append(all, plural(n, "sequence is missing", "sequences are missing"))
	}
	if n := len(l.Audit.Damage) - reports; n > 0 {
		all = append(all, plural(n, "place is damaged", "places are damaged"))
	}
	return strings.Join(all, "; ")
}
