package embedded

import (
	"encoding/binary"
	"strings"

	"github.com/remora-mq/remora/message"
)

// The keys of the database, by their first two bytes. Numbers are big endian,
// so that keys sort as they count; names end with a zero byte.
//
//	p/                     position: uvarint, the last one given out
//	t/ topic               meta of a topic
//	g/ group 0 topic       progress of a group in a topic
//	m/ topic 0 queue offset  an entry
//	i/ message ID          uvarint: how many produced copies are kept
//	d/ due seq             a delayed entry, and the topic that it goes to
//	c/ unit n              a chunk of a payload
//	u/ unit                makes the chunks of a unit exist
const (
	positionKey    = "p/"
	topicPrefix    = "t/"
	groupPrefix    = "g/"
	entryPrefix    = "m/"
	copiesPrefix   = "i/"
	delayPrefix    = "d/"
	chunkPrefix    = "c/"
	unitPrefix     = "u/"
	retryPrefix    = "%RETRY%"
	deadPrefix     = "%DLQ%"
	prefixLen      = 2
	chunkKeyLen    = prefixLen + 8 + 4
	longestKeySize = prefixLen + message.MaxTopic + 1 + 2 + 8
)

func topicKey(topic string) []byte { return []byte(topicPrefix + topic) }

func groupKey(group, topic string) []byte { return []byte(groupPrefix + group + "\x00" + topic) }

func splitGroupKey(key []byte) (group, topic string, ok bool) {
	return strings.Cut(string(key[prefixLen:]), "\x00")
}

func entryKey(topic string, queue int, offset int64) []byte {
	key := make([]byte, 0, prefixLen+len(topic)+1+2+8)
	key = append(append(append(key, entryPrefix...), topic...), 0)
	key = binary.BigEndian.AppendUint16(key, uint16(queue))
	return binary.BigEndian.AppendUint64(key, uint64(offset))
}

func copiesKey(id message.ID) []byte { return append([]byte(copiesPrefix), id[:]...) }

func delayKey(d delayed) []byte {
	key := binary.BigEndian.AppendUint64([]byte(delayPrefix), uint64(d.due))
	return binary.BigEndian.AppendUint64(key, d.seq)
}

func splitDelayKey(key []byte) (delayed, bool) {
	if len(key) != prefixLen+16 {
		return delayed{}, false
	}
	return delayed{
		due: int64(binary.BigEndian.Uint64(key[prefixLen:])),
		seq: binary.BigEndian.Uint64(key[prefixLen+8:]),
	}, true
}

func chunkKey(unit uint64, n int) []byte {
	key := binary.BigEndian.AppendUint64([]byte(chunkPrefix), unit)
	return binary.BigEndian.AppendUint32(key, uint32(n))
}

func unitOfChunk(key []byte) (unit uint64, ok bool) {
	if len(key) != chunkKeyLen {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[prefixLen:]), true
}

func unitKey(unit uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(unitPrefix), unit)
}
