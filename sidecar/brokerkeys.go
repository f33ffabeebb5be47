package sidecar

import (
	"errors"
	"log/slog"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/reread"
)

// keysReads are made at most of keys that have changed, one right after the other.
const keysReads = 4

// brokerKeys are what the files of the broker's keys hold. They are read again when they
// change. While one of them cannot be read, or they change from one read to the next, the
// keys from before go on.
type brokerKeys struct {
	files config.RocketMQ
	log   *slog.Logger
	pair  func() (rocketmq.Keys, error)
	keys  *reread.Value[rocketmq.Keys]

	failed string // why, when they were read last; of the one who reads
}

func openBrokerKeys(c config.RocketMQ) (*brokerKeys, error) {
	k := &brokerKeys{files: c, log: slog.New(slog.DiscardHandler)}
	k.pair = k.readFiles
	keys, err := k.pair()
	if err == nil {
		if again, failed := k.settled(keys); failed == nil { // a pipe is read once
			keys = again
		}
	}
	k.keys = reread.New(keys, k.again, time.Now)
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
	keys, _ := k.keys.Current() // again has said why they are those from before
	return keys
}

// again reads the files, if there are any, and says why they cannot be read, once.
func (k *brokerKeys) again(known rocketmq.Keys) (rocketmq.Keys, error) {
	if k.files.SecretKeyFile == "" {
		return known, nil
	}
	keys, err := k.settled(known)
	switch {
	case err == nil:
		k.failed = ""
	case err.Error() != k.failed:
		k.failed = err.Error()
		k.log.Error("the keys for the broker cannot be read again; those from before go on signing", "error", err)
	}
	return keys, err
}
