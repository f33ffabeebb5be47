package redis

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
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

// Begin implements dedupe.Store. A key without a mark, as most are, is taken by a
// command that costs the server a quarter of a script.
func (s *Store) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	claim := s.claims.Take(k, f)
	lease = min(lease, s.window)
	m, err := s.begin(ctx, k, f, claim, lease)
	if m.Verdict == dedupe.Begun {
		m.Token = uint64(claim)
		m, err = dedupe.Whole(ctx, s, k, m, lease)
	}
	if err != nil {
		s.claims.Lost(k, f, claim)
		return dedupe.Mark{}, fmt.Errorf("begin dedupe mark: %w", err)
	}
	return m, nil
}

func (s *Store) begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, claim dedupe.Claim, lease time.Duration) (dedupe.Mark, error) {
	q, asked := s.first(k, f, claim, lease), time.Now()
	answer, err := s.ask(ctx, q)
	if err != nil {
		return dedupe.Mark{}, err
	}
	switch answer {
	case "OK":
		return dedupe.Mark{Verdict: dedupe.Begun, Attempt: 1, Until: asked.Add(lease)}, nil
	case nil: // there is a mark
	default:
		return dedupe.Mark{}, unexpected(answer)
	}
	token := bytesOf(uint64(claim))
	asked = time.Now()
	answer, err = s.run(ctx, q.mark, func() *question { return lookScript.on(q.mark, token, f[:], maxDone) })
	if err != nil {
		return dedupe.Mark{}, err
	}
	if seen, free := freeMark(answer); free {
		asked = time.Now()
		answer, err = s.run(ctx, q.mark, func() *question {
			return beginScript.on(q.mark, token, f[:], s.spans(nil, lease), q.window, seen)
		})
		if err != nil {
			return dedupe.Mark{}, err
		}
	}
	return markOf(answer, asked)
}

// freeMark is the mark that look.lua found free.
func freeMark(answer any) (mark string, free bool) {
	text, _ := answer.(string)
	return strings.CutPrefix(text, "\x03")
}

// first begins a key that has no mark. What it says is one allocation.
func (s *Store) first(k dedupe.Key, f dedupe.Fingerprint, claim dedupe.Claim, lease time.Duration) *question {
	b := appendName(make([]byte, 0, 96), k)
	n := len(b)
	b = append(b, "11"...)
	b = binary.BigEndian.AppendUint64(b, uint64(claim))
	b = s.spans(append(b, f[:]...), lease)
	b = append(b, 0, 0, 0, 1)
	q := &question{window: milliseconds(s.window)}
	q.mark, q.value = string(b[:n]), string(b[n:])
	q.set = [...]any{"set", &q.mark, &q.value, "nx", "px", &q.window}
	q.command = q.set[:]
	return q
}

// spans appends lease and window as a mark has them.
func (s *Store) spans(b []byte, lease time.Duration) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(milliseconds(lease)))
	return binary.BigEndian.AppendUint64(b, uint64(milliseconds(s.window)))
}

// markOf reads what look.lua and begin.lua return: verdict and conflict, 1 byte each, attempts,
// 4, ms until the lease ends, 8; big endian. The answer may have been on its way since asked.
func markOf(answer any, asked time.Time) (dedupe.Mark, error) {
	text, _ := answer.(string)
	b := []byte(text)
	if len(b) != 14 || b[0] > byte(dedupe.Repeat) {
		return dedupe.Mark{}, unexpected(answer)
	}
	left := time.Duration(binary.BigEndian.Uint64(b[6:])) * time.Millisecond
	return dedupe.Mark{
		Verdict: dedupe.Verdict(b[0]), Conflict: b[1] == 1,
		Attempt: int(binary.BigEndian.Uint32(b[2:])), Until: asked.Add(left),
	}, nil
}

func unexpected(answer any) error {
	return fmt.Errorf("%w: Redis answered %#v", dedupe.ErrUnavailable, answer)
}

// Extend implements dedupe.Store.
func (s *Store) Extend(ctx context.Context, k dedupe.Key, m dedupe.Mark, lease time.Duration) error {
	return s.settle(ctx, "extend", extendScript, k, m, s.spans(nil, min(lease, s.window)))
}

// Done implements dedupe.Store. It shares its command with others that are done.
func (s *Store) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	b := appendName(make([]byte, 0, 80), k)
	n := len(b)
	b = binary.BigEndian.AppendUint64(b, m.Token)
	b = strconv.AppendInt(b, milliseconds(s.window), 10)
	mark, finishes := string(b[:n]), string(b[n:])
	return s.settled(ctx, "finish", mark, func() *question { return &question{mark: mark, finishes: finishes} })
}

// Release implements dedupe.Store.
func (s *Store) Release(ctx context.Context, k dedupe.Key, m dedupe.Mark, counts bool) error {
	return s.settle(ctx, "release", releaseScript, k, m, counts)
}

// Forget implements dedupe.Store.
func (s *Store) Forget(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	return s.settle(ctx, "forget", forgetScript, k, m)
}

// settle changes the mark if m's holder was the last one to begin it.
func (s *Store) settle(ctx context.Context, verb string, script *script, k dedupe.Key, m dedupe.Mark, args ...any) error {
	mark := nameOf(k)
	args = append([]any{bytesOf(m.Token), milliseconds(s.window)}, args...)
	return s.settled(ctx, verb, mark, func() *question { return script.on(mark, args...) })
}

func (s *Store) settled(ctx context.Context, verb, mark string, question func() *question) error {
	answer, err := s.run(ctx, mark, question)
	if err == nil && answer != int64(1) {
		err = dedupe.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s dedupe mark: %w", verb, err)
	}
	return nil
}

// run asks what runs a script on a mark, also on one of an earlier version.
func (s *Store) run(ctx context.Context, mark string, question func() *question) (answer any, err error) {
	answer, err = s.ask(ctx, question())
	if err == nil || !isOfEarlierVersion(err) {
		return answer, err
	}
	if _, err := s.ask(ctx, convertScript.on(mark)); err != nil {
		return nil, err
	}
	return s.ask(ctx, question())
}

// ask returns the server's answer; nil: it is null. An error is ErrClosed, the
// context's, or ErrUnavailable.
func (s *Store) ask(ctx context.Context, q *question) (answer any, err error) {
	err = s.calls.Run(ctx, func() error {
		answer, err = s.pipe.ask(ctx, q)
		return err
	})
	return answer, err
}

// Failing reports whether the last call got no answer, or a refusal.
func (s *Store) Failing() bool { return s.calls.Failing() }

// nameOf is the key of Redis under which the mark of k is.
func nameOf(k dedupe.Key) string { return string(appendName(nil, k)) }

func appendName(b []byte, k dedupe.Key) []byte {
	hash := k.Hash()
	return hex.AppendEncode(append(b, prefix...), hash[:])
}

func bytesOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func milliseconds(d time.Duration) int64 { return max(d.Milliseconds(), 1) }
