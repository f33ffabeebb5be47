package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/remora-mq/remora/bench/report"
)

// Main runs a program until it ends or is interrupted, and exits with the code
// that run returns, or with 2 and the error, under the program's name.
func Main(name string, run func(ctx context.Context, args []string) (code int, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		code = 2
	}
	os.Exit(code)
}

// Report prints the page of a run. Its code is 1 when that is strict and a target was
// missed.
func Report(run *report.Run, targets []report.Target, strict bool) (code int, err error) {
	missed, err := report.Write(os.Stdout, run, targets)
	if strict && len(missed) > 0 {
		code = 1
	}
	return code, err
}

// InFolder calls do with a new folder within parent, which is made when it is
// missing, and removes the new one afterwards.
func InFolder(parent, name string, do func(dir string) error) (err error) {
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return do(dir)
}
