package httpapi

// Parked counts the connections that wait without fasthttp's buffers.
func (s *Server) Parked() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		if c.waiting {
			n++
		}
		c.mu.Unlock()
	}
	return n
}
