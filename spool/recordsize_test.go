package spool

import (
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
)

// What is declared for a record is an upper bound, whatever lengths are in it, and
// not much above it.
func TestRecordSizeIsABound(t *testing.T) {
	for _, length := range []int{0, 1, 127, 128, 255, 1 << 14} {
		m := &message.Message{Topic: "t", Body: []byte("body")}
		for range 500 {
			m.Keys = append(m.Keys, strings.Repeat("k", length))
			m.Properties = append(m.Properties, message.Property{Name: strings.Repeat("n", length), Value: strings.Repeat("v", length)})
		}
		n := &newMessage{msg: m, size: m.Size()}
		if got, most := len(n.appendRecord(nil)), n.recordSize(); got > most || got < most-200 {
			t.Errorf("texts of %d bytes: a record of %d bytes, %d are declared", length, got, most)
		}
	}
}
