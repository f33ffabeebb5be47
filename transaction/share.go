package transaction

import (
	"net/url"
	"sync"
)

// shares bound how many check-backs of one host are asked at once, so that one
// application that hangs leaves room for the others.
type shares struct {
	most int // of a host

	mu    sync.Mutex
	asked map[string]int // by host
}

// newShares lets a host have half of so many.
func newShares(all int) *shares { return &shares{most: (all + 1) / 2, asked: map[string]int{}} }

// enter reports whether one more may be asked; then leave has to follow.
func (s *shares) enter(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[host] >= s.most {
		return false
	}
	s.asked[host]++
	return true
}

func (s *shares) leave(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[host]--; s.asked[host] == 0 {
		delete(s.asked, host)
	}
}

// hostOf is the host and port of an address; of what is none, all of it.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Host
	}
	return address
}
