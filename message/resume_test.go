package message_test

import (
	"testing"

	"github.com/remora-mq/remora/message"
)

// TestResumeFindsTheRestAndNothingElse breaks one record of five, each byte of
// it in turn, the body of which holds a whole record of another sequence.
func TestResumeFindsTheRestAndNothingElse(t *testing.T) {
	forged := message.AppendRecord(nil, &message.Message{Seq: 8, Topic: "t", Body: []byte("forged")})
	var block []byte
	var ends []int
	for seq := uint64(5); seq < 10; seq++ {
		block = message.AppendRecord(block, &message.Message{Seq: seq, Topic: "t", Body: append([]byte("body "), forged...)})
		ends = append(ends, len(block))
	}
	from, to := ends[1], ends[2] // sequence 7
	for at := from; at < to; at++ {
		block[at] ^= 0x20
		if got := message.Resume(block[from:], 6); got != to-from {
			t.Errorf("byte %d: resumes at %d, want %d", at-from, got, to-from)
		}
		block[at] ^= 0x20
	}
	if got := message.Resume(block[from:ends[3]-1], 6); got != 0 {
		t.Errorf("in a block that is cut it resumes at %d", got)
	}
	if got := message.Resume(block[from:], 9); got != 0 {
		t.Errorf("sequences that were before are found at %d", got)
	}
}

// TestResumeEndsOnHostileContent: content that looks like records all over.
func TestResumeEndsOnHostileContent(t *testing.T) {
	var b []byte
	for len(b) < 512<<10 {
		b = append(b, 1, 0, 0xff, 0xff, 0x8f, 0x00) // a plausible length at each step
	}
	if got := message.Resume(b, 0); got != 0 {
		t.Errorf("resumes at %d", got)
	}
}
