package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/test/crash/kvproof"
)

const exitFenced = 3

func main() {
	fenced, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
	if fenced {
		os.Exit(exitFenced) // without Close, as a fenced process does
	}
	select {}
}

func run(args []string) (fenced bool, err error) {
	if len(args) != 3 {
		return false, fmt.Errorf("got %d arguments, want DIR FIRST LAST", len(args))
	}
	first, err := strconv.Atoi(args[1])
	if err != nil {
		return false, fmt.Errorf("read FIRST: %w", err)
	}
	last, err := strconv.Atoi(args[2])
	if err != nil {
		return false, fmt.Errorf("read LAST: %w", err)
	}
	ctx := context.Background()
	db, err := kv.Open(ctx, kvproof.Options(args[0]))
	if err != nil {
		return false, err
	}
	return accept(ctx, kvproof.NewStore(db), first, last), nil
}

func accept(ctx context.Context, s *kvproof.Store, first, last int) (fenced bool) {
	for n := first; n <= last; n++ {
		if err := s.Accept(ctx, n); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			fmt.Println("failed", n)
			if s.Refuses(ctx, n+1) {
				fmt.Println("refuses")
			}
			return true
		}
		fmt.Println("accepted", n)
	}
	fmt.Println("done")
	return false
}
