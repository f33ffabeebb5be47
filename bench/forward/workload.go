package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
)

const (
	oneTopic   = "bench"
	stuckTopic = "bench-stuck" // which no broker has
)

func manyTopic(i int) string { return "bench-" + strconv.Itoa(i) }

// workload is what is posted.
type workload struct {
	messages int
	sendable int // of them: the broker takes them
	at       func(i int) (topic, orderingKey string)
}

func loadOfOne(n int) workload {
	return workload{n, n, func(int) (string, string) { return oneTopic, "" }}
}

func loadOfMany(n, topics, keys int) workload {
	return workload{n, n, func(i int) (string, string) { return manyTopic(i % topics), "key-" + strconv.Itoa(i%keys) }}
}

// besideStuck has three messages for a topic that nobody takes among two others.
func besideStuck(l workload) workload {
	return workload{l.messages * 5 / 2, l.messages, func(i int) (string, string) {
		if i%5%2 == 0 {
			return stuckTopic, ""
		}
		return l.at(i/5*2 + i%5/2)
	}}
}

// post posts all of it, each message by itself, and returns how many were
// accepted a second.
func post(ctx context.Context, addr string, connections int, l workload) (rate float64, err error) {
	var posted atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for n := range connections {
		group.Go(func() error {
			p, err := peer.DialServer(ctx, addr)
			if err != nil {
				return err
			}
			defer p.Close()
			defer context.AfterFunc(ctx, func() { _ = p.Close() })() // ends what waits for an answer
			bodies := load.NewBodies(bodySize, n)
			for {
				i := int(posted.Add(1)) - 1
				if i >= l.messages {
					return nil
				}
				topic, key := l.at(i)
				if err := accepted(p.Post(topic, orderingKey(key), bodies.Next())); err != nil {
					return fmt.Errorf("post: %w", err)
				}
			}
		})
	}
	err = group.Wait()
	return float64(l.messages) / time.Since(began).Seconds(), err
}

func orderingKey(key string) string {
	if key == "" {
		return ""
	}
	return "MQ-Ordering-Key: " + key + "\r\n"
}

func accepted(status int, content []byte, err error) error {
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(content))
	}
	return err
}
