package rocketmq

import "fmt"

// Durable reports whether SEND_OK of the broker means that a message is on its
// disk and at a slave; why not says what is missing. What is not known counts as
// missing.
func (b BrokerConfig) Durable() (ok bool, whyNot string) {
	if b.Err != nil {
		return false, fmt.Sprintf("the configuration of %s cannot be read: %v", b.Name, b.Err)
	}
	for _, name := range []string{"flushDiskType", "brokerRole"} {
		if b.Settings[name] == "" {
			return false, fmt.Sprintf("%s does not tell its %s", b.Name, name)
		}
	}
	if all := b.volatile(); len(all) > 0 {
		return false, all[0].Text
	}
	return true, ""
}

// volatile is what SEND_OK does not wait for. Since RocketMQ 5 a SYNC_MASTER does
// not wait for a slave either unless inSyncReplicas, which counts the master, asks
// for one: CommitLog.handleHA of 5.3.3 answers at once where it is 1, its default.
// With enableAutoInSyncReplicas it falls to minInSyncReplicas when slaves are gone.
func (b BrokerConfig) volatile() (all []Weakness) {
	add := func(is bool, hint, text string) {
		if is {
			all = append(all, Weakness{b.Name + " " + text, hint})
		}
	}
	is := func(name, value string) bool { return b.Settings[name] == value }
	add(is("flushDiskType", "ASYNC_FLUSH"), "set flushDiskType=SYNC_FLUSH, or keep spool.retain on and send again with 'sidecar queue resend --since' after a crash",
		"answers SEND_OK before a message is on its disk (flushDiskType=ASYNC_FLUSH): a loss of power loses what it confirmed")
	add(is("brokerRole", "ASYNC_MASTER"), "set brokerRole=SYNC_MASTER with a slave and inSyncReplicas=2, or keep spool.retain on",
		"answers SEND_OK before a slave has the message (brokerRole=ASYNC_MASTER): the loss of its disk loses what it confirmed")
	add(is("brokerRole", "SYNC_MASTER") && b.below("inSyncReplicas", 2), "set inSyncReplicas=2, or keep spool.retain on",
		"answers SEND_OK before a slave has the message (inSyncReplicas="+b.Settings["inSyncReplicas"]+" counts the master alone): the loss of its disk loses what it confirmed")
	add(is("brokerRole", "SYNC_MASTER") && !b.below("inSyncReplicas", 2) && is("enableAutoInSyncReplicas", "true") && b.below("minInSyncReplicas", 2),
		"set minInSyncReplicas=2, or keep spool.retain on",
		"waits for no slave where none is there (enableAutoInSyncReplicas, minInSyncReplicas="+b.Settings["minInSyncReplicas"]+"): the loss of its disk then loses what it confirmed")
	return all
}
