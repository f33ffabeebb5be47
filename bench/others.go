package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// others tells how busy the machine was with what does not belong to this run.
type others struct {
	began      time.Time
	busy, ours time.Duration
	up         []*contestant
}

func watchOthers(up []*contestant) (*others, error) {
	o := &others{began: time.Now(), up: up}
	var err error
	o.busy, o.ours, err = o.read()
	return o, err
}

func (o *others) read() (busy, ours time.Duration, err error) {
	if busy, err = proc.Busy(); err != nil {
		return 0, 0, err
	}
	u, err := proc.Read(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	ours = u.CPU
	for _, c := range o.up {
		if c.PID() == 0 {
			continue
		}
		if u, err = proc.ReadTree(c.PID()); err != nil {
			return 0, 0, err
		}
		ours += u.CPU
	}
	return busy, ours, nil
}

// verdict is a sentence for the page.
func (o *others) verdict() (string, error) {
	busy, ours, err := o.read()
	if err != nil {
		return "", err
	}
	cores := ((busy - o.busy) - (ours - o.ours)).Seconds() / time.Since(o.began).Seconds()
	return sayOthers(cores, runtime.NumCPU()), nil
}

// sayOthers is loud from a tenth of the machine on.
func sayOthers(cores float64, of int) string {
	text := fmt.Sprintf("Other processes and the kernel's own work took %.2f of %d cores meanwhile.", max(cores, 0), of)
	if cores > 0.1*float64(of) {
		text += "\n*** THE MACHINE WAS BUSY: run it again when nothing else does."
	}
	return text
}
