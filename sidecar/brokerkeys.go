package sidecar

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

// keysReadAgain is how old what is known of the files of the broker's keys may be.
const keysReadAgain = 2 * time.Second

// brokerKeys are what the files of the broker's keys hold. They are read again when they
// are used and 2 s have passed, so that a change needs no restart. While one of them
// cannot be read, the keys from before go on.
type brokerKeys struct {
	files config.RocketMQ
	now   func() time.Time
	log   *slog.Logger
	known atomic.Pointer[rocketmq.Keys]

	reading sync.Mutex // held by the one who reads
	read    time.Time
	failed  string // why, when it was read last
}

func openBrokerKeys(c config.RocketMQ) (*brokerKeys, error) {
	k := &brokerKeys{files: c, now: time.Now, log: slog.New(slog.DiscardHandler)}
	keys, err := k.readFiles()
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
	keys, err := k.readFiles()
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
