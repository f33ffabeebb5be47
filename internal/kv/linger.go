package kv

import "time"

// linger makes a commit wait for callers who are likely to come: those whom the
// ones before have just answered. A sync costs the same however many share it, and
// of callers who send again when they are answered, most would always come too late
// for a commit that begins at once.
//
// A commit waits no longer than twice as long as the one before took, counted from
// that one's end; and not at all when nobody else is to be expected. All fields are
// guarded by DB.mu.
type linger struct {
	most    time.Duration // 0: no commit waits
	callers int           // who are likely to be there
	until   time.Time     // when nobody is expected any more
	enough  int           // how many callers end the wait that is on; 0: none is
}

// answered expects those again whose commit has ended, beside those who wait. They
// may be the few who came in time for it, and others about to come: so of those who
// were expected before, seven eighths are.
func (l *linger) answered(callers, waiting int, took time.Duration, now time.Time) {
	l.callers = max(callers+waiting, l.callers*7/8)
	l.until = now.Add(min(2*took, l.most))
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
