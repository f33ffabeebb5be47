package push

import "bytes"

// quickOK reads the answer that nearly all are: a 200 of HTTP/1.1 with a body of a
// length that it tells. It returns the length of the header, and of the body. Where
// anything in the header may mean more than that, it is not ok and says nothing: what
// it is, the whole parser tells.
func quickOK(b []byte) (header, body int, ok bool) {
	rest, found := bytes.CutPrefix(b, []byte("HTTP/1.1 200 "))
	if !found {
		return 0, 0, false
	}
	_, rest, ok = cutLine(rest) // the reason is for people
	for body = -1; ok; {
		var line []byte
		if line, rest, ok = cutLine(rest); ok && len(line) == 0 {
			return len(b) - len(rest), body, body >= 0
		}
		name, value, isField := bytes.Cut(line, []byte(":"))
		switch {
		case !ok || !isField || !isToken(name):
			return 0, 0, false
		case bytes.EqualFold(name, []byte("Content-Length")):
			if body >= 0 {
				return 0, 0, false
			}
			if body = length(bytes.Trim(value, " ")); body < 0 {
				return 0, 0, false
			}
		case means(name):
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// cutLine returns the text before the first CRLF, and what is after it. A control
// character before it is not ok.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	for i, ch := range b {
		if ch >= ' ' && ch != 0x7f {
			continue
		}
		if ch == '\r' && i+1 < len(b) && b[i+1] == '\n' {
			return b[:i], b[i+2:], true
		}
		break
	}
	return nil, nil, false
}

// isToken reports a field name of the usual characters.
func isToken(name []byte) bool {
	for _, ch := range name {
		if letter := ch|0x20 >= 'a' && ch|0x20 <= 'z'; !letter && ch != '-' && !(ch >= '0' && ch <= '9') {
			return false
		}
	}
	return len(name) > 0
}

// means reports a field that says how the answer is framed, what becomes of the
// connection, or what we have to do.
func means(name []byte) bool {
	switch name[0] | 0x20 {
	case 'c':
		return bytes.EqualFold(name, []byte("Connection"))
	case 'm':
		return len(name) > 3 && bytes.EqualFold(name[:3], []byte("MQ-"))
	case 't':
		return bytes.EqualFold(name, []byte("Transfer-Encoding")) || bytes.EqualFold(name, []byte("Trailer"))
	case 'u':
		return bytes.EqualFold(name, []byte("Upgrade"))
	}
	return false
}

// length reads a length that fits the buffer; -1: it is none.
func length(digits []byte) (n int) {
	if len(digits) == 0 || len(digits) > 5 {
		return -1
	}
	for _, ch := range digits {
		if ch < '0' || ch > '9' {
			return -1
		}
		n = 10*n + int(ch-'0')
	}
	return n
}
