package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/report"
)

// apart is between two messages at low load.
const apart = 5 * time.Millisecond

// lowLoad takes turns, message by message.
func (t *trial) lowLoad(ctx context.Context, s *built.Sidecar, round report.Round) (err error) {
	p, err := peer.DialServer(ctx, s.Data[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })() // ends what waits for an answer
	bodies := load.NewBodies(bodySize, 0)
	ways := []struct {
		name string
		send func() (time.Duration, error)
	}{
		{singles, func() (time.Duration, error) {
			began := time.Now()
			err := t.client.sendOnce(ctx, bodies, 1, plain)
			return time.Since(began), err
		}},
		{confirmed, func() (time.Duration, error) { return toConfirmation(ctx, s, p, bodies) }},
		{waits, func() (time.Duration, error) { return waitFor(p, bodies) }},
	}
	took := make([][]time.Duration, len(ways))
	for range t.low {
		for i, w := range ways {
			d, err := w.send()
			if err != nil {
				return fmt.Errorf("low load: %s: %w", w.name, err)
			}
			took[i] = append(took[i], d)
			time.Sleep(apart)
		}
	}
	for i, w := range ways {
		slices.Sort(took[i])
		round[report.Key{Peer: w.name, Connections: 1}] = report.Sample{P50: took[i][len(took[i])/2], P99: took[i][len(took[i])*99/100]}
	}
	return nil
}

// waitFor is a POST whose answer is that the broker has confirmed.
func waitFor(p *peer.Publisher, bodies *load.Bodies) (time.Duration, error) {
	began := time.Now()
	status, content, err := p.Post(oneTopic, "Prefer: wait=30\r\n", bodies.Next())
	took := time.Since(began)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", status, content)
	}
	return took, err
}

// toConfirmation is from the POST until the sidecar counts the confirmation. Its
// receipt says when it was accepted, in whole milliseconds, and its histogram
// adds the exact time from there on.
func toConfirmation(ctx context.Context, s *built.Sidecar, p *peer.Publisher, bodies *load.Bodies) (time.Duration, error) {
	before, err := s.Metrics(ctx, confirmations, confirmTime)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	status, content, err := p.Post(oneTopic, "", bodies.Next())
	if err := accepted(status, content, err); err != nil {
		return 0, err
	}
	var receipt struct {
		AcceptedAt time.Time `json:"accepted_at"`
	}
	if err := json.Unmarshal(content, &receipt); err != nil {
		return 0, err
	}
	for {
		time.Sleep(apart)
		now, err := s.Metrics(ctx, confirmations, confirmTime)
		if err != nil {
			return 0, err
		}
		if now[0] > before[0] {
			exact := time.Duration((now[1] - before[1]) * float64(time.Second))
			return receipt.AcceptedAt.Add(exact).Sub(began), nil
		}
	}
}

// confirmTime is a series of the sidecar: seconds.
const confirmTime = "remora_forward_confirm_seconds_sum"
