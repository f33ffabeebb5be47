package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/sidecar"
)

// version is set by the linker.
var version = "unknown"

// Exit codes of the command line; those of run are sidecar's.
const (
	exitFailed      = sidecar.ExitFailed
	exitUsage       = sidecar.ExitUsage
	exitUnreachable = 3
	exitPartly      = 4
)

func main() {
	private()
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// private keeps message bodies out of other users' sight: the files that
// libraries create, and core dumps.
func private() {
	unix.Umask(0o077)
	// A limit that cannot be lowered is no reason not to run.
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

func execute(args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return sidecar.ExitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(errOut, "sidecar: %s\n", strings.TrimSpace(text))
	}
	return codeOf(err)
}

// coded is an error that has its own exit code.
type coded struct {
	code int
	err  error
}

func (c coded) Error() string { return c.err.Error() }
func (c coded) Unwrap() error { return c.err }

func fail(code int, format string, args ...any) error {
	return coded{code, fmt.Errorf(format, args...)}
}

func codeOf(err error) int {
	if c := (coded{}); errors.As(err, &c) {
		return c.code
	}
	return sidecar.ExitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "sidecar",
		Short:         "Remora holds on to every message",
		Long:          "Remora accepts messages over HTTP, keeps them on disk until a broker has confirmed\nthem, and hands consumed messages to an application's HTTP handler.",
		Example:       "  sidecar demo\n  sidecar config init > remora.yaml\n  sidecar check -c remora.yaml\n  sidecar run -c remora.yaml",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		Version:       version, // --version
	}
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(badFlag)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newRun(), newDev(), newDemo(), newPublish(), newCheck(), newConfig(), named(newQueue()), named(newDLQ()), named(newTx()), named(newTopic()), named(newSubscription()), newLedger(), named(newSpool()), newDrain(), named(newOperation()), newAwait(), newVersion())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}
