package binary

import (
	"bytes"
	"encoding/json"
	"io"
)

// logWriter keeps the log and looks for the line that says "ready".
type logWriter struct {
	file  io.Writer
	ready chan<- Addresses
	rest  []byte // of an unfinished line
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			break
		}
		l.line(line)
		l.rest = bytes.Clone(rest)
	}
	return l.file.Write(p)
}

func (l *logWriter) line(line []byte) {
	var said struct {
		Msg string
		Addresses
	}
	if json.Unmarshal(line, &said) == nil && said.Msg == "ready" {
		l.ready <- said.Addresses
	}
}
