package spool

import "errors"

// pause checks that a topic knows of its pause.
func (a *auditor) pause(k, v []byte) error {
	p, err := decodePause(v)
	if err != nil {
		return err
	}
	t := a.topics[tail32(k, len(pausePrefix))]
	if t == nil || t.lane.topic != p.topic || !t.paused() {
		return errors.New("its topic does not know of it")
	}
	t.pauseFound = true
	return nil
}

func (a *auditor) comparePause(t *auditTopic) {
	if t.paused() && !t.pauseFound {
		a.notef("topic %q: it is paused, and the entry of that is gone", t.lane.topic)
	}
}
