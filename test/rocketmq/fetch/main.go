// Command fetch has the jars that package rocketmq needs on disk before the
// first test wants them, and prints their folder:
//
//	go run ./test/rocketmq/fetch
//
// It promises what [rocketmq.Jars] does.
package main

import (
	"fmt"
	"os"

	"github.com/remora-mq/remora/test/rocketmq"
)

func main() {
	lib, err := rocketmq.Jars()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(lib)
}
