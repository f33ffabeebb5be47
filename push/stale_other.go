//go:build !unix

package push

// stale cannot be known here: a connection closed while idle costs an attempt.
func (c *conn) stale() bool { return false }

func (w *wire) poll(p []byte) (n int, err error) { return w.Conn.Read(p) }
