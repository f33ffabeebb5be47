package rocketmq

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// at is a message at an offset of its queue.
func at(offset int64) *primitive.MessageExt {
	m := pulled("x")
	m.QueueOffset = offset
	return m
}

// fetches has the next member fetch messages as the library does.
func (m *members) fetches(by *primitive.MessageQueue, offsets ...int64) {
	m.t.Helper()
	var msgs []*primitive.MessageExt
	for _, offset := range offsets {
		msgs = append(msgs, at(offset))
	}
	if _, err := m.next.fetched(&hooks.FilterMessageContext{MQ: by, Msg: msgs}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *members) joins() {
	r := m.former.receivers
	m.next = newAcker(r.ctx, m.former.sub, r, m.former.log)
}

// What was acked when its member had left is not delivered again where the next one goes
// on there. Where the group may have been set back meanwhile, it is: an operator wants
// that.
func TestASetBackIsNotTakenForACopy(t *testing.T) {
	const offset = 5
	one, another := &primitive.MessageQueue{}, &primitive.MessageQueue{}
	for name, tc := range map[string]struct {
		again bool // it is delivered
		run   func(m *members)
	}{
		"the next member goes on": {false, func(m *members) { m.fetches(one, 3, offset, 6) }},
		"it fetches more before its copy is looked at": {false, func(m *members) {
			m.fetches(one, 3, offset)
			m.fetches(one, 6, 7)
		}},
		"it is busy with what is before it": {false, func(m *members) {
			m.fetches(one, 3)
			time.Sleep(keptFor / 2)
			m.fetches(one, 4, offset)
		}},
		"it fetches of another queue": {false, func(m *members) {
			m.fetches(&primitive.MessageQueue{QueueId: 1}, 9)
			m.fetches(one, offset)
		}},
		"it begins to read anew": {true, func(m *members) {
			m.fetches(one, 3)
			m.fetches(another, 0, offset)
		}},
		"it begins to read anew with the copy fetched": {true, func(m *members) {
			m.fetches(one, 3, offset)
			m.fetches(another, 0, offset)
		}},
		"another process was there": {true, func(m *members) {
			m.fetches(one, 6)
			m.fetches(one, offset)
		}},
		"another process has the queue for a while": {true, func(m *members) {
			time.Sleep(rejoinTime + time.Second)
			m.fetches(one, 3, offset)
		}},
		"the next member joins late": {true, func(m *members) {
			time.Sleep(rejoinTime + time.Second)
			m.joins()
			m.fetches(one, 3, offset)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMembers(t)
				defer m.stop()
				m.next = m.former
				m.fetches(&primitive.MessageQueue{}, offset)
				first, firstEnded := callback(m.former, at(offset))
				synctest.Wait()
				m.leave()
				m.former.leave(true)
				m.answer <- nil
				m.ends("the first", first, firstEnded, true)
				m.joins()
				tc.run(m)
				second, secondEnded := callback(m.next, at(offset))
				if tc.again {
					m.answer <- nil
				}
				m.ends("its copy", second, secondEnded, true)
				if want := map[bool]int{false: 1, true: 2}[tc.again]; m.calls != want {
					t.Errorf("%d calls, want %d", m.calls, want)
				}
				time.Sleep(keptFor + time.Second)
				synctest.Wait()
				if r := m.next.receivers; len(r.all)+len(r.kept.all) > 0 {
					t.Errorf("%d deliveries are remembered, %d of them kept", len(r.all), len(r.kept.all))
				}
			})
		})
	}
}
