package report

import (
	"fmt"
	"io"
	"strings"
)

// Write writes the page and returns the names of the targets that were missed.
func Write(w io.Writer, run *Run, targets []Target) (missed []string, err error) {
	if _, err = fmt.Fprintf(w, "%s\n%s\nColumns are connections; figures are median (min–max), rounds: %d.\n\n",
		run.Title, run.Machine, len(run.Rounds)); err != nil {
		return nil, err
	}
	for _, f := range figures {
		if err = f.table(run).write(w); err != nil {
			return nil, err
		}
	}
	ratios, missed := judgeAll(run, targets)
	if err = ratios.write(w); err != nil {
		return missed, err
	}
	_, err = fmt.Fprint(w, conclusion(missed))
	return missed, err
}

func judgeAll(run *Run, targets []Target) (t table, missed []string) {
	t = table{{"ratios, each within a round", "", "target", ""}}
	for _, target := range targets {
		s, verdict := target.judge(run)
		figure := s.String()
		switch verdict {
		case Unmeasured:
			figure = none
		case Met, Shown:
		case Missed:
			missed = append(missed, fmt.Sprintf("%s is %s, asked is %s", target.Name, number(s.Median), target.bound()))
		}
		t = append(t, []string{"  " + target.Name, figure, target.bound(), string(verdict)})
	}
	return t, missed
}

func conclusion(missed []string) string {
	if len(missed) == 0 {
		return "No target was missed.\n"
	}
	return "*** MISSED: " + strings.Join(missed, "\n*** MISSED: ") + "\n"
}
