package rocketmq

import (
	"bytes"
	"maps"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	sent := frame{Code: 17, Opaque: 7, Remark: "r", ExtFields: map[string]string{"k": "v"}, body: []byte{0, 255}}
	must(t, writeFrame(&wire, sent))
	got, err := readFrame(&wire)
	must(t, err)
	if got.Code != sent.Code || got.Opaque != sent.Opaque || got.Remark != sent.Remark ||
		!maps.Equal(got.ExtFields, sent.ExtFields) || !bytes.Equal(got.body, sent.body) {
		t.Errorf("got %+v, want %+v", got, sent)
	}
}

func TestBrokenFrameIsAnError(t *testing.T) {
	for name, wire := range map[string]string{
		"empty":              "",
		"short":              "\x00\x00\x00\x08\x00\x00\x00\x02{}",
		"length without end": "\xff\xff\xff\xff\x00\x00\x00\x02{}",
		"header over length": "\x00\x00\x00\x06\x00\x00\x00\x03{}",
		"not JSON":           "\x00\x00\x00\x06\x01\x00\x00\x02{}",
	} {
		if _, err := readFrame(bytes.NewReader([]byte(wire))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
