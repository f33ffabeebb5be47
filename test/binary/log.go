package binary

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is a child that dies with the test. The goroutine own starts it and
// waits for it.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of its end; read after ended
}

func startProcess(cmd *exec.Cmd, log io.Closer) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go p.own(started, log)
	return p, <-started
}

// own keeps its thread while the child lives: the kernel sends Pdeathsig when
// the thread that forked ends (prctl(2)).
func (p *process) own(started chan<- error, log io.Closer) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer log.Close()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

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
