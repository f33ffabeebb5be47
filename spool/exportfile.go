package spool

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// Is makes it an ErrExport, also where the line is whole and does not fit.
func (e *LineError) Is(target error) bool { return target == ErrExport }

// Export files are read by walkExport: take gets each line that is whole, and
// bad each that is not, or of which take says so by a *LineError; any other error
// of either ends the walk. A header that
// cannot be read ends it too. The error of the file as a whole, a trailer that is
// missing or does not agree, goes to bad with line 0.
func walkExport(r io.Reader, take func(line) error, bad func(*LineError) error) (version int, err error) {
	f := &exportFile{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	if err := f.header(); err != nil {
		return 0, err
	}
	for {
		text, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return f.version, bad(&LineError{0, fmt.Errorf("%w: the trailer is missing; the file is cut", ErrExport)})
		case err != nil && !errors.Is(err, ErrExport):
			return f.version, err
		case err == nil && bytes.HasPrefix(text, []byte(`{"messages":`)):
			if err := f.trailer(text); err != nil {
				return f.version, bad(&LineError{f.line, err})
			}
			return f.version, nil
		}
		if err := f.content(text, err, take, bad); err != nil {
			return f.version, err
		}
	}
}

// content hands over what a line holds, or why it cannot be used.
func (f *exportFile) content(text []byte, err error, take func(line) error, bad func(*LineError) error) error {
	var l line
	if err == nil {
		l, err = decodeLine(text, f.version)
	}
	f.contents++
	if err != nil {
		return bad(&LineError{f.line, err})
	}
	err = take(l)
	if unfit, ok := errors.AsType[*LineError](err); ok {
		return bad(&LineError{f.line, unfit.Err})
	}
	return err
}

// header reads the first line. Of a newer format nothing else is looked at.
func (f *exportFile) header() error {
	var is struct {
		Version int `json:"remora_export"`
	}
	var h headerLine
	text, err := f.next()
	if err == nil && json.Unmarshal(text, &is) == nil && is.Version > exportVersion {
		return &LineError{1, fmt.Errorf("%w: format %d is newer than %d; use the version that wrote it, or a newer one", ErrExport, is.Version, exportVersion)}
	}
	if err == nil {
		err = strict(text, &h)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return &LineError{1, err}
	case err != nil || h.Version <= 0:
		return &LineError{1, fmt.Errorf("%w: the header is missing; this is no export", ErrExport)}
	}
	f.version = h.Version
	return nil
}

type exportFile struct {
	r       *bufio.Reader
	version int
	sum     hash.Hash // of all lines before the last one
	last    []byte
	line    int

	contents int // lines between header and trailer, whole or not
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
func (f *exportFile) trailer(text []byte) error {
	var t trailerLine
	if err := strict(text, &t); err != nil {
		return err
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != t.SHA256 {
		return fmt.Errorf("%w: the sha256 of all lines before is %s, the trailer says %.64q", ErrExport, got, t.SHA256)
	}
	if t.Messages == nil || *t.Messages+t.Transactions+t.Decided+t.Keys != f.contents {
		return fmt.Errorf("%w: %d messages, transactions and keys were read, the trailer has another number", ErrExport, f.contents)
	}
	if _, err := f.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the trailer", ErrExport)
	}
	return nil
}

// Checked is what a whole export has.
type Checked struct {
	Version        int          // of its format
	Messages, Keys int          // that are whole
	Transactions   int          // that are, with their messages, which Messages does not count
	Decided        int          // transactions, without theirs
	Bad            []*LineError // the first that are not
	AllBad         int
}

// CheckExport reads a whole export.
func CheckExport(r io.Reader) (c Checked, err error) {
	const some = 20
	c.Version, err = walkExport(r, func(l line) error {
		switch {
		case l.item != nil:
			c.Messages++
		case l.transaction != nil:
			c.Transactions++
		case l.decided != nil:
			c.Decided++
		default:
			c.Keys++
		}
		return nil
	}, func(e *LineError) error {
		if c.AllBad++; len(c.Bad) < some {
			c.Bad = append(c.Bad, e)
		}
		return nil
	})
	return c, err
}
