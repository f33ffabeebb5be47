package chaos

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// TestAccessControl: with a wrong secret messages wait, and nothing dies of it;
// with the right one they go. After the secret was changed at the broker they
// wait again, until the sidecar is started with the new one.
func TestAccessControl(t *testing.T) {
	const topic = "guarded"
	ctx := within(t, 2*time.Minute)
	w := newTrial(t, newScene(t), topic)
	waits := func(why string) {
		t.Helper()
		posting := w.begin(ctx, topic)
		before := w.attempts(ctx, t, "NO_PERMISSION")
		await(ctx, t, func() error {
			if n := w.attempts(ctx, t, "NO_PERMISSION"); n < before+3 {
				return fmt.Errorf("%s: %d attempts were refused", why, n-before)
			}
			return nil
		})
		posting.end(t)
		if l, err := w.ledger(ctx); err != nil || l.Total.InSpool["dead"] > 0 || l.Total.Confirmed == l.Total.Accepted {
			t.Errorf("%s: %+v (%v)", why, l, err)
		}
	}
	begin := func(secret string) {
		t.Helper()
		must(t, os.WriteFile(w.secret, []byte(secret), 0o600))
		must(t, w.side.Start())
	}
	begin("wrong")
	waits("wrong secret")
	must(t, w.side.Stop())
	begin(secret)
	w.drained(ctx, t)

	change := func(secret string) {
		for _, b := range w.Brokers {
			must(t, b.SetPassword(user, secret))
		}
	}
	change("second")
	t.Cleanup(func() { change(secret) })
	waits("changed secret")
	must(t, w.side.Stop())
	begin("second")
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted and on the brokers, %d repeats; drained %v after the start with the new secret", w.count(), w.repeats(), took.Round(time.Millisecond))
}
