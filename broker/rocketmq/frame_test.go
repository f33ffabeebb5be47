package rocketmq

import (
	"bytes"
	"reflect"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	for _, want := range []command{
		newCommand(36, map[string]string{"group": "g", "name": "größe \x01"}, []byte{0, 1, 0xff}),
		newCommand(0, nil, []byte{}),
	} {
		frame, err := encodeFrame(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readFrame(bytes.NewReader(frame))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v (%v), want %+v", got, err, want)
		}
		for cut := range frame {
			if _, err := readFrame(bytes.NewReader(frame[:cut])); err == nil {
				t.Fatalf("a frame cut at %d of %d was read", cut, len(frame))
			}
		}
	}
}

// An answer from anything but a broker is an error, not a panic and not
// gigabytes.
func FuzzReadFrame(f *testing.F) {
	frame, err := encodeFrame(newCommand(1, map[string]string{"a": "b"}, []byte("body")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := readFrame(bytes.NewReader(data)); err == nil && len(c.body) > len(data) {
			t.Errorf("a body of %d bytes out of %d", len(c.body), len(data))
		}
	})
}
