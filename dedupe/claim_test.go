package dedupe

import (
	"context"
	"errors"
	"testing"
	"time"
)

// extending is a store that is only asked to extend.
type extending struct {
	Store

	err  error
	asks []time.Duration
	of   Mark
}

func (e *extending) Extend(_ context.Context, _ Key, m Mark, lease time.Duration) error {
	e.asks, e.of = append(e.asks, lease), m
	return e.err
}

func TestWhole(t *testing.T) {
	const lease = time.Minute
	for name, tt := range map[string]struct {
		verdict Verdict
		left    time.Duration
		extend  error
		asks    int
		want    Verdict
		wantFor time.Duration
		failed  error
	}{
		"whole":               {Begun, lease, nil, 0, Begun, lease, nil},
		"a second is missing": {Begun, lease - time.Second, nil, 0, Begun, lease - time.Second, nil},
		"a part is missing":   {Begun, lease - 5*time.Second, nil, 1, Begun, lease, nil},
		"over":                {Begun, -time.Second, nil, 1, Begun, lease, nil},
		"another's already":   {Begun, -time.Second, ErrFenced, 1, InProgress, 0, nil},
		"not to be extended":  {Begun, time.Second, ErrUnavailable, 1, InProgress, 0, ErrUnavailable},
		"in progress":         {InProgress, time.Second, nil, 0, InProgress, time.Second, nil},
		"a repeat":            {Repeat, 0, nil, 0, Repeat, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &extending{err: tt.extend}
			given := Mark{Verdict: tt.verdict, Attempt: 3, Token: 7, Until: time.Now().Add(tt.left)}
			m, err := Whole(t.Context(), s, Key{Key: "k"}, given, lease)
			if !errors.Is(err, tt.failed) || m.Verdict != tt.want || len(s.asks) != tt.asks {
				t.Fatalf("%v, %v, asked %d times", m.Verdict, err, len(s.asks))
			}
			if tt.asks > 0 && (s.asks[0] != lease || s.of != given) {
				t.Errorf("asked for %v, of %+v", s.asks[0], s.of)
			}
			if m.Verdict == Begun && (m.Attempt != 3 || m.Token != 7) {
				t.Errorf("another mark: %+v", m)
			}
			if left := time.Until(m.Until); err == nil && tt.want != Repeat && (left > tt.wantFor || left < tt.wantFor-2*time.Second) {
				t.Errorf("%v are left, want %v", left, tt.wantFor)
			}
		})
	}
}
