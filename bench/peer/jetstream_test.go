package peer

import (
	"fmt"
	"testing"
)

// heard is an answer to c.
func heard(c *natsClient, text string) string {
	return fmt.Sprintf("MSG %s 1 %d\r\n%s\r\n", c.inbox, len(text), text)
}

func TestSendWaitsForTheSequence(t *testing.T) {
	const stored = `{"stream":"bench","seq":7}`
	answer := func(text string) func(*natsClient) string {
		return func(c *natsClient) string { return heard(c, text) }
	}
	tests := []struct {
		name string
		say  func(*natsClient) string
		fail string
	}{
		{"stored", answer(stored), ""},
		{"news on the way", func(c *natsClient) string { return "INFO {}\r\n" + heard(c, stored) }, ""},
		{"refused", answer(`{"stream":"bench","seq":0,"error":{"code":503,"description":"insufficient resources"}}`), "insufficient resources"},
		{"refused, of a type", answer(`{"type":"io.nats.jetstream.api.v1.stream_purge_response","error":{"description":"stream not found"}}`), "stream not found"},
		{"nothing stored", answer(`{"stream":"bench"}`), "does not say"},
		{"no JSON", answer(`+OK`), "read the answer"},
		{"nobody listens", func(c *natsClient) string {
			return "HMSG " + c.inbox + " 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
		}, "nobody takes"},
		{"complaint", func(*natsClient) string { return "-ERR 'Maximum Payload Violation'\r\n" }, "Maximum Payload"},
		{"somebody else's answer", func(*natsClient) string { return "MSG other 1 2\r\n{}\r\n" }, "not an answer"},
		{"no length", func(c *natsClient) string { return "MSG " + c.inbox + " 1 x\r\n" }, "length"},
		{"cut off", func(c *natsClient) string { return heard(c, stored)[:60] }, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newNATS(nil)
			conn := script(t, step{"PUB bench " + c.inbox + " 4\r\nbody\r\n", tt.say(c)})
			c.Conn = conn
			c.lines.Reset(conn)
			failsWith(t, c.Send([]byte("body")), tt.fail)
		})
	}
}

func TestPingsAreAnswered(t *testing.T) {
	c := newNATS(nil)
	conn := script(t,
		step{"PUB bench " + c.inbox + " 4\r\nbody\r\n", "PING\r\n"},
		step{"PONG\r\n", heard(c, `{"seq":1}`)},
	)
	c.Conn = conn
	c.lines.Reset(conn)
	if err := c.Send([]byte("body")); err != nil {
		t.Error(err)
	}
}

func TestGreetSubscribesToTheInbox(t *testing.T) {
	tests := []struct{ name, info, pong, fail string }{
		{"greeted", "INFO {}\r\n", "PONG\r\n", ""},
		{"refused", "INFO {}\r\n", "-ERR 'Authorization Violation'\r\n", "Authorization"},
		{"another server", "SSH-2.0-OpenSSH\r\n", "", "not the greeting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newNATS(nil)
			steps := []step{{"", tt.info}}
			if tt.pong != "" {
				steps = append(steps, step{natsHello + "SUB " + c.inbox + " 1\r\nPING\r\n", tt.pong})
			}
			conn := script(t, steps...)
			c.Conn = conn
			c.lines.Reset(conn)
			failsWith(t, c.greet(), tt.fail)
		})
	}
}
