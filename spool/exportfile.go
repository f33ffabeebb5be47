package spool

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// LineError says which line of an export cannot be used, and why.
type LineError struct {
	Line int // from 1; 0: the whole file
	Err  error
}

func (e *LineError) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d: %v", e.Line, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// Export files are read by walkExport: take gets each message that is whole, and
// bad each line that is not; either ends the walk by an error. A header that
// cannot be read ends it too. The error of the file as a whole, a trailer that is
// missing or does not agree, goes to bad with line 0.
func walkExport(r io.Reader, take func(line int, i Item) error, bad func(*LineError) error) error {
	f := &exportFile{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	if err := f.header(); err != nil {
		return err
	}
	for messages := 0; ; messages++ {
		line, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return bad(&LineError{0, fmt.Errorf("%w: the trailer is missing; the file is cut", ErrExport)})
		case err != nil && !errors.Is(err, ErrExport):
			return err
		case err == nil && bytes.HasPrefix(line, []byte(`{"messages":`)):
			if err := f.trailer(line, messages); err != nil {
				return bad(&LineError{f.line, err})
			}
			return nil
		}
		if err := f.message(line, err, take, bad); err != nil {
			return err
		}
	}
}

// message hands over what a line holds, or why it cannot be used.
func (f *exportFile) message(line []byte, err error, take func(int, Item) error, bad func(*LineError) error) error {
	var i Item
	if err == nil {
		i, err = decodeLine(line)
	}
	if err != nil {
		return bad(&LineError{f.line, err})
	}
	return take(f.line, i)
}

// header reads the first line.
func (f *exportFile) header() error {
	var h headerLine
	line, err := f.next()
	if err == nil {
		err = strict(line, &h)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return &LineError{1, err}
	case err != nil || h.Version == 0:
		return &LineError{1, fmt.Errorf("%w: the header is missing; this is no export", ErrExport)}
	case h.Version > exportVersion:
		return &LineError{1, fmt.Errorf("%w: format %d is newer than %d; use the version that wrote it, or a newer one", ErrExport, h.Version, exportVersion)}
	}
	return nil
}

type exportFile struct {
	r    *bufio.Reader
	sum  hash.Hash // of all lines before the last one
	last []byte
	line int
}

// next returns the next line, without its end. One that is too long, or has no
// end, is passed over with ErrExport.
func (f *exportFile) next() ([]byte, error) {
	f.sum.Write(f.last)
	f.last = f.last[:0]
	f.line++
	long := false
	for {
		part, err := f.r.ReadSlice('\n')
		switch {
		case long:
			f.sum.Write(part)
		case len(f.last)+len(part) > maxLine:
			long = true
			f.sum.Write(f.last)
			f.sum.Write(part)
			f.last = f.last[:0]
		default:
			f.last = append(f.last, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(f.last) == 0 && !long:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: the line has no end; the file is cut", ErrExport)
		case err != nil:
			return nil, err
		case long:
			return nil, fmt.Errorf("%w: the line is longer than %d bytes", ErrExport, maxLine)
		default:
			return bytes.TrimSuffix(f.last, []byte("\n")), nil
		}
	}
}

// trailer compares the file with its last line, which nothing may follow.
func (f *exportFile) trailer(line []byte, messages int) error {
	var t trailerLine
	if err := strict(line, &t); err != nil {
		return err
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != t.SHA256 {
		return fmt.Errorf("%w: the sha256 of all lines before is %s, the trailer says %.64q", ErrExport, got, t.SHA256)
	}
	if t.Messages == nil || *t.Messages != messages {
		return fmt.Errorf("%w: %d messages were read, the trailer has another number", ErrExport, messages)
	}
	if _, err := f.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the trailer", ErrExport)
	}
	return nil
}

// CheckExport reads a whole export and returns how many messages it has that
// are whole, and the first lines that are not (at most some, of all).
func CheckExport(r io.Reader) (messages int, bad []*LineError, all int, err error) {
	const some = 20
	err = walkExport(r, func(int, Item) error {
		messages++
		return nil
	}, func(e *LineError) error {
		if all++; len(bad) < some {
			bad = append(bad, e)
		}
		return nil
	})
	return messages, bad, all, err
}
