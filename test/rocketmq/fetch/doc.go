// Command fetch has the jars that package rocketmq needs on disk before the
// first test wants them, and prints their folder:
//
//	go run ./test/rocketmq/fetch
//
// It promises and assumes what [rocketmq.Jars] does, and may run beside itself
// and beside tests.
package main
