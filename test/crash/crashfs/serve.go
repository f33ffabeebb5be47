package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/remora-mq/remora/test/crash/crashfs/control"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// replies writes lines; events come from other goroutines than replies.
type replies struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newReplies(w io.Writer) *replies { return &replies{enc: json.NewEncoder(w)} }

func (r *replies) send(reply control.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enc.Encode(reply); err != nil {
		return // nobody reads any more, so the input ends, too
	}
}

func (r *replies) event(e disk.Event) { r.send(control.Reply{Event: &e}) }

// serve answers requests until quit or the end of input.
func serve(d *disk.Disk, in io.Reader, out *replies) {
	requests := json.NewDecoder(in)
	for {
		var q control.Request
		if err := requests.Decode(&q); err != nil || q.Do == control.Quit {
			return
		}
		reply, err := answer(d, q)
		if err != nil {
			reply.Error = err.Error()
		}
		out.send(reply)
	}
}

func answer(d *disk.Disk, q control.Request) (r control.Reply, err error) {
	switch q.Do {
	case control.Cut:
		d.Cut()
	case control.CutAt:
		d.CutAt(int(q.N))
	case control.HoldAt:
		d.HoldAt(int(q.N))
	case control.Resume:
		d.Resume(int(q.N))
	case control.FailSync:
		d.FailSync(int(q.N))
	case control.Stall:
		d.Stall(q.Delay)
	case control.Space:
		d.SetSpace(q.N)
	case control.Survive:
		err = survive(d, q.Survivors, q.Dir)
	case control.Counts:
		r.Ops, r.Syncs = d.Counts()
	case control.History:
		r.History = d.History()
	default:
		err = fmt.Errorf("unknown request %q", q.Do)
	}
	return r, err
}

func survive(d *disk.Disk, survivors, dir string) error {
	s, err := disk.ParseSurvivors(survivors)
	if err != nil {
		return err
	}
	return d.Survive(s).WriteTo(dir)
}
