package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/dgraph-io/badger/v4"

	"github.com/remora-mq/remora/test/crash/badgerproof"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("got %d arguments, want DIR MODE LAST", len(args))
	}
	mode := badgerproof.Mode(args[1])
	last, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("read LAST: %w", err)
	}
	db, err := badger.Open(badgerproof.Options(args[0], mode))
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if err := badgerproof.Write(db, mode, last, os.Stdout); err != nil {
		return err
	}
	return db.Close()
}
