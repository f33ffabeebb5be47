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
