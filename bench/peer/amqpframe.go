package peer

import "encoding/binary"

// frameRoom is what a frame takes beside its payload: kind, channel, size, end.
const frameRoom = 8

func appendFrame(dst []byte, kind byte, channel uint16, payload ...[]byte) []byte {
	size := 0
	for _, p := range payload {
		size += len(p)
	}
	dst = binary.BigEndian.AppendUint16(append(dst, kind), channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	for _, p := range payload {
		dst = append(dst, p...)
	}
	return append(dst, frameEnd)
}

func appendMethod(dst []byte, channel uint16, m method, args []byte) []byte {
	return appendFrame(dst, frameMethod, channel, binary.BigEndian.AppendUint32(nil, uint32(m)), args)
}

var (
	// publishArgs name the default exchange and the queue; a message without a
	// queue is to come back.
	publishArgs = append(appendShort(appendShort([]byte{0, 0}, ""), queue), 1)
	publishHead = appendMethod(nil, 1, basicPublish, publishArgs)
)

// appendMessage writes the frames of one message; a body longer than most is cut.
func appendMessage(dst, body []byte, most int) []byte {
	const deliveryMode, persistent = 1 << 12, 2 // a flag, and the property
	var header [15]byte
	binary.BigEndian.PutUint16(header[:], uint16(basicPublish>>16))
	binary.BigEndian.PutUint64(header[4:], uint64(len(body)))
	binary.BigEndian.PutUint16(header[12:], deliveryMode)
	header[14] = persistent
	dst = appendFrame(append(dst, publishHead...), frameHeader, 1, header[:])
	for len(body) > 0 {
		n := min(most, len(body))
		dst = appendFrame(dst, frameBody, 1, body[:n])
		body = body[n:]
	}
	return dst
}

// appendShort writes a string of up to 255 bytes, behind its length.
func appendShort(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

// appendLong writes a string or a table behind its length.
func appendLong(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}
