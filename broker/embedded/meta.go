package embedded

import (
	"cmp"
	"encoding/binary"
	"fmt"
)

// metaVersion is the first byte of a topic's meta and of a group's progress.
const metaVersion = 1

// append writes version, repeats, bytes, the number of queues, and first and
// next of each, as uvarints.
func (t *topic) append(dst []byte) []byte {
	dst = append(dst, metaVersion)
	dst = appendNumbers(dst, t.repeats, t.bytes, int64(len(t.queues)))
	for _, q := range t.queues {
		dst = appendNumbers(dst, q.first, q.next)
	}
	return dst
}

func decodeTopic(name string, b []byte) (*topic, error) {
	n, err := numbers(b)
	if err != nil || len(n) < 3 || n[2] < 1 || int64(len(n)) != 3+2*n[2] {
		return nil, fmt.Errorf("meta of topic %s: %w", name, cmp.Or(err, errEntry))
	}
	t := &topic{name: name, repeats: n[0], bytes: n[1]}
	for n = n[3:]; len(n) > 0; n = n[2:] {
		t.queues = append(t.queues, &queue{first: n[0], next: n[1], visible: n[1]})
	}
	return t, nil
}

// append writes version, and low and acked of each lane, as uvarints.
func (t *track) append(dst []byte) []byte {
	dst = append(dst, metaVersion)
	for _, l := range t.lanes {
		dst = appendNumbers(dst, l.low, l.acked)
	}
	return dst
}

func decodeTrack(group, topic string, b []byte) (*track, error) {
	n, err := numbers(b)
	if err != nil || len(n)%2 != 0 {
		return nil, fmt.Errorf("progress of group %s in topic %s: %w", group, topic, cmp.Or(err, errEntry))
	}
	t := &track{group: group, topic: topic}
	for ; len(n) > 0; n = n[2:] {
		t.lanes = append(t.lanes, &lane{track: t, low: n[0], next: n[0], acked: n[1]})
	}
	return t, nil
}

func appendNumbers(dst []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func numbers(b []byte) ([]int64, error) {
	if len(b) == 0 || b[0] != metaVersion {
		return nil, fmt.Errorf("%w, or of a newer format", errEntry)
	}
	var out []int64
	for b = b[1:]; len(b) > 0; {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errEntry
		}
		out, b = append(out, int64(v)), b[n:]
	}
	return out, nil
}
