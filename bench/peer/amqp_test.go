package peer

import (
	"bytes"
	"fmt"
	"testing"
)

// said is a method of the server, on channel 1.
func said(m method, args string) string { return string(appendMethod(nil, 1, m, []byte(args))) }

// tag is a delivery tag and the bit behind it.
func tag(n byte) string { return "\x00\x00\x00\x00\x00\x00\x00" + string(n) + "\x00" }

func TestSendWaitsForItsConfirm(t *testing.T) {
	heartbeat := string(appendFrame(nil, frameHeartbeat, 0))
	tests := []struct{ name, say, fail string }{
		{"confirmed", said(basicAck, tag(1)), ""},
		{"confirmed after a heartbeat", heartbeat + said(basicAck, tag(1)), ""},
		{"another one's confirm, then its own", said(basicAck, tag(0)) + said(basicAck, tag(1)), ""},
		{"only another one's confirm", said(basicAck, tag(0)), "EOF"},
		{"refused", said(basicNack, tag(1)), "refused"},
		{"no queue", said(basicReturn, "\x01\x38\x08NO_ROUTE\x00\x05bench"), "312 NO_ROUTE"},
		{"channel closed", said(channelClose, "\x01\x94\x09NOT_FOUND\x00\x00\x00\x00"), "404 NOT_FOUND"},
		{"connection closed", said(connectionClose, "\x01\x40\x06FORCED\x00\x00\x00\x00"), "320 FORCED"},
		{"closed without a reason", said(connectionClose, "\x01\x40\x06FOR"), "cut off"},
		{"another method", said(queuePurgeOK, "\x00\x00\x00\x00"), "instead of a confirm"},
		{"confirm of another length", said(basicAck, "\x00\x01"), "2 bytes"},
		{"content instead of a method", string(appendFrame(nil, frameBody, 1, []byte("body"))), "kind 3"},
		{"wrong end", said(basicAck, tag(1))[:20] + "\x00", "ends in 0x0"},
		{"no frame", "HTTP/1.1 400 Bad Request", "does not begin a frame"},
		{"cut off", said(basicAck, tag(1))[:10], "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			message := string(appendMessage(nil, []byte("body"), 4096))
			c := newAMQP(script(t, step{message, tt.say}))
			c.most = 4096
			failsWith(t, c.Send([]byte("body")), tt.fail)
		})
	}
}

func TestMessageIsPersistentAndCutIntoFrames(t *testing.T) {
	const want = "\x01\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x28\x00\x00\x00\x05bench\x01\xce" + // publish, mandatory
		"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x10\x00\x02\xce" + // 5 bytes, persistent
		"\x03\x00\x01\x00\x00\x00\x03abc\xce" + "\x03\x00\x01\x00\x00\x00\x02de\xce"
	if got := appendMessage(nil, []byte("abcde"), 3); string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestGreetAsksForConfirms(t *testing.T) {
	onZero := func(m method, args string) string { return string(appendMethod(nil, 0, m, []byte(args))) }
	tests := []struct {
		name, tune, fail string
	}{
		{"usual frames", "\x07\xff\x00\x02\x00\x00\x00\x3c", ""},
		{"tiny frames", "\x07\xff\x00\x00\x00\x80\x00\x3c", "up to 128 bytes"},
		{"endless frames", "\x07\xff\x00\x00\x00\x00\x00\x3c", "up to 0 bytes"},
		{"cut off", "\x07\xff\x00", "3 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps := []step{
				{"AMQP\x00\x00\x09\x01", onZero(connectionStart, "\x00\x09whatever")},
				{onZero(connectionStartOK, "\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US"), onZero(connectionTune, tt.tune)},
			}
			if tt.fail == "" {
				steps = append(steps,
					step{onZero(connectionTuneOK, tt.tune[:6]+"\x00\x00"), ""},
					step{onZero(connectionOpen, "\x01/\x00\x00"), onZero(connectionOpenOK, "\x00")},
					step{said(channelOpen, "\x00"), said(channelOpenOK, "\x00\x00\x00\x00")},
					step{said(confirmSelect, "\x00"), said(confirmSelectOK, "")},
				)
			}
			c := newAMQP(script(t, steps...))
			failsWith(t, c.greet(), tt.fail)
			if tt.fail == "" && c.most != 131072-frameRoom {
				t.Errorf("payloads of up to %d bytes", c.most)
			}
		})
	}
}

func TestQueueIsADurableQuorumQueue(t *testing.T) {
	const args = "\x00\x00\x05bench\x02\x00\x00\x00\x18\x0cx-queue-typeS\x00\x00\x00\x06quorum"
	c := newAMQP(script(t,
		step{said(queueDeclare, args), said(queueDeclareOK, "\x05bench\x00\x00\x00\x00\x00\x00\x00\x00")},
		step{said(queuePurge, "\x00\x00\x05bench\x00"), said(channelClose, "\x01\x94\x09NOT_FOUND")},
	))
	if err := c.declare(); err != nil {
		t.Error(err)
	}
	failsWith(t, c.purge(), "404 NOT_FOUND")
}

func TestConfirmsAreCounted(t *testing.T) {
	var steps []step
	for n := range 3 {
		body := fmt.Appendf(nil, "body %d", n)
		steps = append(steps, step{string(appendMessage(nil, body, 4096)), said(basicAck, tag(byte(n+1)))})
	}
	c := newAMQP(script(t, steps...))
	c.most = 4096
	for n := range steps {
		if err := c.Send(fmt.Appendf(nil, "body %d", n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFramesHoldLongBodies(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1<<20)
	c := newAMQP(script(t, step{"", string(appendMessage(nil, body, 131072-frameRoom))}))
	var kinds []byte
	size := 0
	for size < len(body) {
		kind, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		if kinds = append(kinds, kind); kind == frameBody {
			size += len(c.payload)
		}
	}
	if want := append([]byte{frameMethod, frameHeader}, bytes.Repeat([]byte{frameBody}, 9)...); !bytes.Equal(kinds, want) || size != len(body) {
		t.Errorf("frames of kinds %v, %d bytes", kinds, size)
	}
}
