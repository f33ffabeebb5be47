package deadletter

import (
	"maps"
	"sync"
)

// told is a run's progress, which others may ask for while it runs.
type told struct {
	mu       sync.Mutex
	progress Progress
}

// begun is that of a run that has not begun.
func begun() *told { return &told{progress: Progress{Phase: Counting, Dead: map[string]int{}}} }

// Progress returns how far it has come.
func (t *told) Progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.progress
	p.Dead = maps.Clone(p.Dead)
	return p
}

func (t *told) note(do func(p *Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do(&t.progress)
}
