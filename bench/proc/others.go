package proc

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// Others tells how busy the machine was with what does not belong to this
// process and all that descends from it.
type Others struct {
	began      time.Time
	busy, ours time.Duration
}

// WatchOthers begins to look.
func WatchOthers() (*Others, error) {
	o := &Others{began: time.Now()}
	var err error
	o.busy, o.ours, err = o.read()
	return o, err
}

func (o *Others) read() (busy, ours time.Duration, err error) {
	if busy, err = Busy(); err != nil {
		return 0, 0, err
	}
	u, err := ReadTree(os.Getpid())
	return busy, u.CPU, err
}

// Verdict is a sentence for the page.
func (o *Others) Verdict() (string, error) {
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
