package sidecar

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

const (
	// keysReadAgain is how old what is known of the files of the broker's keys may be.
	keysReadAgain = 2 * time.Second
	// keysReads are made at most of keys that have changed, one right after the other.
	keysReads = 4
)

// brokerKeys are what the files of the broker's keys hold. They are read again when they
// are used and 2 s have passed, so that a change needs no restart. While one of them
// cannot be read, or they change from one read to the next, the keys from before go on.
type brokerKeys struct {
	files config.RocketMQ
	now   func() time.Time
	log   *slog.Logger
	known atomic.Pointer[rocketmq.Keys]

	reading sync.Mutex // held by the one who reads
	read    time.Time
	pair    func() (rocketmq.Keys, error)
	failed  string // why, when it was read last
}

func openBrokerKeys(c config.RocketMQ) (*brokerKeys, error) {
	k := &brokerKeys{files: c, now: time.Now, log: slog.New(slog.DiscardHandler)}
	k.pair = k.readFiles
	keys, err := k.pair()
	if err == nil {
		if again, failed := k.settled(keys); failed == nil { // a pipe is read once
			keys = again
		}
	}
	k.known.Store(&keys)
	k.read = k.now()
	return k, err
}

func (k *brokerKeys) readFiles() (keys rocketmq.Keys, err error) {
	if keys.Access, err = readSecret("broker.rocketmq.access_key_file", k.files.AccessKeyFile); err != nil {
		return rocketmq.Keys{}, err
	}
	if keys.Secret, err = readSecret("broker.rocketmq.secret_key_file", k.files.SecretKeyFile); err != nil {
		return rocketmq.Keys{}, err
	}
	return keys, nil
}

// settled reads the files until two reads agree, or they hold what is known: one that
// falls between two writes may find the keys of two pairs, or a half of one.
func (k *brokerKeys) settled(known rocketmq.Keys) (keys rocketmq.Keys, err error) {
	before := known
	for range keysReads {
		if keys, err = k.pair(); err != nil || keys == before {
			return keys, err
		}
		before = keys
	}
	return known, errors.New("the files of the broker's keys change while they are read")
}

// current returns the keys that sign now.
func (k *brokerKeys) current() rocketmq.Keys {
	if k.files.SecretKeyFile != "" && k.reading.TryLock() {
		k.refresh()
		k.reading.Unlock()
	}
	return *k.known.Load()
}

// refresh reads the files if that was some time ago. k.reading is held.
func (k *brokerKeys) refresh() {
	now := k.now()
	if now.Sub(k.read) < keysReadAgain {
		return
	}
	k.read = now
	keys, err := k.settled(*k.known.Load())
	if err != nil {
		if k.failed != err.Error() {
			k.log.Error("the keys for the broker cannot be read again; those from before go on signing", "error", err)
		}
		k.failed = err.Error()
		return
	}
	k.failed = ""
	k.known.Store(&keys)
}
