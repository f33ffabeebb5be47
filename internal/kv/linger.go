package kv

import "time"

// linger makes a commit wait for callers who are likely to come: those whom the
// one before has just answered. A sync costs the same however many share it, and
// of callers who send again when they are answered, half would always come too
// late for a commit that begins at once.
//
// A commit waits no longer than the one before took, counted from that one's end;
// and not at all when nobody else is to be expected. All fields are guarded by
// DB.mu.
type linger struct {
	most    time.Duration // 0: no commit waits
	callers int           // whom the commit before has answered, and who waited then
	until   time.Time     // when nobody is expected any more
	enough  int           // how many callers end the wait that is on; 0: none is
}

// answered expects those again whose commit has ended, beside those who wait.
func (l *linger) answered(callers, waiting int, took time.Duration, now time.Time) {
	l.callers, l.until = callers+waiting, now.Add(min(took, l.most))
}

// wait is how much longer a commit of so many callers waits for others. Three
// quarters of those who are expected are enough: some have gone.
func (l *linger) wait(callers int, now time.Time) time.Duration {
	l.enough = 0
	left, enough := l.until.Sub(now), l.callers-l.callers/4
	if left <= 0 || callers >= enough {
		return 0
	}
	l.enough = enough
	return left
}
