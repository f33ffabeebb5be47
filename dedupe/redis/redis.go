package redis

import (
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
)

// The scripts, one an operation.
var (
	//go:embed begin.lua
	beginSource string
	//go:embed extend.lua
	extendSource string
	//go:embed done.lua
	doneSource string
	//go:embed release.lua
	releaseSource string
	//go:embed forget.lua
	forgetSource string

	beginScript   = goredis.NewScript(beginSource)
	extendScript  = goredis.NewScript(extendSource)
	doneScript    = goredis.NewScript(doneSource)
	releaseScript = goredis.NewScript(releaseSource)
	forgetScript  = goredis.NewScript(forgetSource)
)

const (
	prefix = "remora:dedupe:"
	// maxDone bounds the fingerprints in one mark; more than one only appear when a
	// key is used for different contents. What it has no room for gets a mark of its
	// own.
	maxDone = 4
)

// Store is a dedupe.Store.
type Store struct {
	*shared

	window time.Duration
}

// shared is what the stores of all windows have in common.
type shared struct {
	o      Options
	client *goredis.Client
	pipe   *pipe
	claims dedupe.Claims
	calls  dedupe.Calls
}

var _ dedupe.Store = (*Store)(nil)

// Open makes a store. It does not connect: a Redis that is down is waited for by
// whoever asks the store.
func Open(o Options) (*Store, error) {
	if err := checkWindow(o.Window); err != nil {
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	o = o.withDefaults()
	client, err := o.client()
	if err != nil {
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	s := &Store{&shared{o: o, client: client}, o.Window}
	s.pipe = &pipe{client: client, timeout: o.Timeout, calls: &s.calls}
	return s, nil
}

// Within is the same store for those who keep marks for another window, at least
// 1 s. Close of either closes both.
func (s *Store) Within(window time.Duration) dedupe.Store { return &Store{s.shared, window} }

// Close waits for running calls; later ones answer dedupe.ErrClosed.
func (s *Store) Close() error {
	first := s.calls.Close()
	s.calls.Wait()
	if !first {
		return nil
	}
	return s.client.Close()
}

// Begin implements dedupe.Store.
func (s *Store) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	claim := s.claims.Take(k, f)
	lease = min(lease, s.window)
	answer, err := s.run(ctx, beginScript, k, hex.EncodeToString(f[:]), claim.String(), milliseconds(lease), milliseconds(s.window), maxDone)
	var m dedupe.Mark
	if err == nil {
		m, err = markOf(answer)
	}
	if err != nil {
		s.claims.Lost(k, f, claim)
		return dedupe.Mark{}, fmt.Errorf("begin dedupe mark: %w", err)
	}
	return m, nil
}

// markOf reads what begin.lua returns.
func markOf(answer any) (m dedupe.Mark, err error) {
	list, _ := answer.([]any)
	if len(list) != 5 {
		return m, fmt.Errorf("%w: Redis answered %v", dedupe.ErrUnavailable, answer)
	}
	var numbers [4]int64
	for i := range numbers {
		n, ok := list[i].(int64)
		if !ok || n < 0 {
			return m, fmt.Errorf("%w: Redis answered %v", dedupe.ErrUnavailable, answer)
		}
		numbers[i] = n
	}
	text, _ := list[4].(string)
	token, err := strconv.ParseUint(text, 10, 64)
	if err != nil || numbers[0] > int64(dedupe.Repeat) {
		return m, fmt.Errorf("%w: Redis answered %v", dedupe.ErrUnavailable, answer)
	}
	return dedupe.Mark{
		Verdict: dedupe.Verdict(numbers[0]), Conflict: numbers[1] == 1, Attempt: int(numbers[2]),
		Until: time.Now().Add(time.Duration(numbers[3]) * time.Millisecond), Token: token,
	}, nil
}

// Extend implements dedupe.Store.
func (s *Store) Extend(ctx context.Context, k dedupe.Key, m dedupe.Mark, lease time.Duration) error {
	return s.settle(ctx, "extend", extendScript, k, m, milliseconds(min(lease, s.window)), milliseconds(s.window))
}

// Done implements dedupe.Store.
func (s *Store) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	return s.settle(ctx, "finish", doneScript, k, m, milliseconds(s.window), maxDone)
}

// Release implements dedupe.Store.
func (s *Store) Release(ctx context.Context, k dedupe.Key, m dedupe.Mark, counts bool) error {
	return s.settle(ctx, "release", releaseScript, k, m, milliseconds(s.window), counts)
}

// Forget implements dedupe.Store.
func (s *Store) Forget(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	return s.settle(ctx, "forget", forgetScript, k, m, milliseconds(s.window))
}

// settle changes the mark if m's holder was the last one to begin it.
func (s *Store) settle(ctx context.Context, verb string, script *goredis.Script, k dedupe.Key, m dedupe.Mark, args ...any) error {
	answer, err := s.run(ctx, script, k, append([]any{strconv.FormatUint(m.Token, 10)}, args...)...)
	if err == nil && answer != int64(1) {
		err = dedupe.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s dedupe mark: %w", verb, err)
	}
	return nil
}

// run runs a script on the mark of k. An error is ErrClosed, the context's, or
// ErrUnavailable.
func (s *Store) run(ctx context.Context, script *goredis.Script, k dedupe.Key, args ...any) (answer any, err error) {
	hash := k.Hash()
	q := &question{script: script, keys: []string{prefix + hex.EncodeToString(hash[:])}, args: args}
	err = s.call(ctx, func(ctx context.Context) error {
		answer, err = s.pipe.ask(ctx, q)
		return err
	})
	return answer, err
}

// call asks the server, unless the store is closed.
func (s *Store) call(ctx context.Context, ask func(context.Context) error) error {
	return s.calls.Ask(ctx, s.o.Timeout, ask)
}

// Failing reports whether the last call got no answer, or a refusal.
func (s *Store) Failing() bool { return s.calls.Failing() }

func milliseconds(d time.Duration) int64 { return max(d.Milliseconds(), 1) }
