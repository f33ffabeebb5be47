package httpapi

import "github.com/remora-mq/remora/ackgate"

// pulled are the deliveries of the answer that is being written.
type pulled struct {
	of     Deliveries
	ids    []string
	unsent bool // a write has failed
}

// handOver remembers what the answer hands over, until it is written. It returns
// false when there is nothing, or nobody to hand it to any more.
func (c *conn) handOver(of Deliveries, all []ackgate.Pulled) bool {
	c.pulled = pulled{of: of, ids: make([]string, len(all)), unsent: c.hungUp()}
	for i, one := range all {
		c.pulled.ids[i] = one.ID
	}
	if c.pulled.unsent {
		c.handedOver()
	}
	return len(c.pulled.ids) > 0
}

// handedOver is called when the answer is written, or will not be. Messages of one
// that did not reach the client go back.
func (c *conn) handedOver() {
	p := c.pulled
	c.pulled = pulled{}
	if len(p.ids) == 0 || !p.unsent && !c.wasReset() {
		return
	}
	for _, id := range p.ids {
		p.of.TakeBack(id)
	}
}

// Write writes for fasthttp.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.pulled.unsent = true
	}
	return n, err
}
