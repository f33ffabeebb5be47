package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// level is how bad a finding is.
type level string

const (
	good level = "ok"
	warn level = "warning"
	bad  level = "failed"
)

// finding is one line of the report. Hint says what to do about it.
type finding struct {
	Section string `json:"section"`
	Level   level  `json:"level"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

// findings collects the report.
type findings []finding

func (f *findings) okf(section, format string, args ...any) {
	*f = append(*f, finding{section, good, fmt.Sprintf(format, args...), ""})
}

func (f *findings) warnf(section, hint, format string, args ...any) {
	*f = append(*f, finding{section, warn, fmt.Sprintf(format, args...), hint})
}

func (f *findings) badf(section, hint, format string, args ...any) {
	*f = append(*f, finding{section, bad, fmt.Sprintf(format, args...), hint})
}

func (f *findings) count(l level) (n int) {
	for _, one := range *f {
		if one.Level == l {
			n++
		}
	}
	return n
}

func newCheck() *cobra.Command {
	var s settings
	output := format{value: "table", known: []string{"table", "json"}}
	c := &cobra.Command{
		Use:   "check",
		Short: "Look at everything the sidecar needs, before it runs or beside it",
		Long: "Looks at the configuration, the spool's volume, the listeners, what a sidecar that runs\n" +
			"there says of itself, the broker, the dedupe stores that sidecars share, the handlers, and\n" +
			"the addresses that are asked for transactions. Ends with 0 when nothing failed (warnings\n" +
			"included), 1 when something did, 2 when the configuration is wrong.",
		Example: "  sidecar check -c remora.yaml\n  sidecar check -c remora.yaml -o json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			if err != nil {
				return err
			}
			return report(c, look(c.Context(), l), output.value)
		},
	}
	s.register(c)
	c.Flags().VarP(&output, "output", "o", "table or json")
	return c
}

// lookTimeout bounds each attempt to reach something.
const lookTimeout = 3 * time.Second

func look(ctx context.Context, l *config.Loaded) *findings {
	f := &findings{}
	f.okf("configuration", "every key is known and every value is in range")
	for _, w := range l.Warnings {
		f.warnf("configuration", "correct its name, or unset it", "%s", w)
	}
	lookAtSecrets(f, l)
	lookAtVolume(f, l)
	lookAtListeners(ctx, f, l)
	lookAtBroker(ctx, f, l)
	lookAtStores(ctx, f, l)
	lookAtHandlers(ctx, f, l)
	lookAtChecks(ctx, f, l)
	return f
}

// lookAtSecrets reads what a start would read. Of the keys of the spool lookAtVolume says
// more.
func lookAtSecrets(f *findings, l *config.Loaded) {
	_, err := sidecar.New(l.Config, version, slog.New(slog.DiscardHandler))
	if err != nil && !errors.Is(err, sidecar.ErrKeyFile) {
		f.badf("configuration", "correct the file, or the key that names it; the sidecar does not start without it", "%v", err)
	}
}

func report(c *cobra.Command, f *findings, output string) error {
	if output == "json" {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		if err := enc.Encode(map[string]any{"failed": f.count(bad), "warnings": f.count(warn), "findings": *f}); err != nil {
			return err
		}
	} else {
		writeReport(c, f)
	}
	if n := f.count(bad); n > 0 {
		return fail(exitFailed, "%d of %d checks failed", n, len(*f))
	}
	return nil
}

func writeReport(c *cobra.Command, f *findings) {
	out := c.OutOrStdout()
	p := painter(out)
	marks := map[level]string{good: p.green("√"), warn: p.yellow("‼"), bad: p.red("×")}
	section := ""
	for _, one := range *f {
		if one.Section != section {
			section = one.Section
			fmt.Fprintln(out, p.bold(section))
		}
		fmt.Fprintf(out, "  %s %s\n", marks[one.Level], one.Text)
		if one.Hint != "" {
			fmt.Fprintf(out, "    %s\n", p.dim(one.Hint))
		}
	}
}
