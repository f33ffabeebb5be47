package rocketmq

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAssess(t *testing.T) {
	sound := map[string]string{
		"flushDiskType": "SYNC_FLUSH", "brokerRole": "SYNC_MASTER", "brokerPermission": "6", "syncFlushTimeout": "3000", "slaveTimeout": "3000",
		"maxMessageSize": "4194304", "enablePropertyFilter": "true", "messageDelayLevel": defaultDelayLevels,
		"timerWheelEnable": "true", "timerMaxDelaySec": "259200", "fileReservedTime": "72",
	}
	needs := Needs{MaxMessage: 4 << 20, AttemptTimeout: 5 * time.Second, SQL: true, Timer: true}
	for _, c := range []struct{ name, value, want string }{
		{"", "", ""},
		{"flushDiskType", "ASYNC_FLUSH", "before a message is on its disk"},
		{"brokerRole", "ASYNC_MASTER", "before a slave has the message"},
		{"inSyncReplicas", "1", "inSyncReplicas=1 counts the master alone"},
		{"inSyncReplicas", "2", ""},
		{"brokerPermission", "4", "read-only"},
		{"syncFlushTimeout", "5000", "waits as long for its disk (syncFlushTimeout=5000 ms) as an attempt (5s)"},
		{"slaveTimeout", "8000", "waits longer for its slave (slaveTimeout=8000 ms)"},
		{"maxMessageSize", "1048576", "takes messages up to 1048576 bytes, the sidecar accepts 4194304"},
		{"enablePropertyFilter", "false", "SQL filter"},
		{"messageDelayLevel", "1s 2s", "delay levels of its own"},
		{"timerWheelEnable", "false", "no timer"},
		{"timerWheelEnable", "", "no timer"}, // of RocketMQ 4
		{"timerMaxDelaySec", "60", "for next to nothing"},
		{"fileReservedTime", "1", "may delete a message before it is due"},
		{"brokerPermission", "", ""}, // an old broker does not say it
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			b := BrokerConfig{Name: "broker-a", Settings: maps.Clone(sound)}
			if c.name != "" {
				b.Settings[c.name] = c.value
			}
			got := b.Assess(needs)
			switch {
			case c.want == "" && len(got) == 0:
			case len(got) != 1 || !strings.HasPrefix(got[0].Text, "broker-a ") || !strings.Contains(got[0].Text, c.want) || got[0].Hint == "":
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}

func TestTimerAhead(t *testing.T) {
	for _, c := range []struct {
		enabled, most, kept string
		want                time.Duration
	}{
		{"true", "259200", "720", 72*time.Hour - timerMargin}, {"true", "61", "720", time.Second}, {"true", "60", "720", 0},
		{"true", "9223372036854775807", "9223372036854775807", maxTimer*time.Second - keptMargin},
		{"true", "259200", "48", 47 * time.Hour}, {"true", "259200", "1", 0}, {"true", "259200", "0", 0}, {"true", "259200", "", 0},
		{"false", "259200", "720", 0}, {"", "", "", 0}, {"true", "", "720", 0}, {"true", "-1", "720", 0},
	} {
		b := BrokerConfig{Name: "broker-a", Settings: map[string]string{"timerWheelEnable": c.enabled, "timerMaxDelaySec": c.most, "fileReservedTime": c.kept}}
		if got, why := b.TimerAhead(); got != c.want || (got == 0) != strings.Contains(why, "broker-a") {
			t.Errorf("%+v: %v, %q", c, got, why)
		}
	}
	for stopped, want := range map[string]time.Duration{"timerStopEnqueue": 0, "timerStopDequeue": 0, "timerStopAnything": 72*time.Hour - timerMargin} {
		b := BrokerConfig{Name: "broker-a", Settings: map[string]string{"timerWheelEnable": "true", "timerMaxDelaySec": "259200", "fileReservedTime": "720", stopped: "true"}}
		if got, why := b.TimerAhead(); got != want || got == 0 && !strings.Contains(why, stopped+"=true") {
			t.Errorf("%s: %v, %q", stopped, got, why)
		}
		if all := b.Assess(Needs{Timer: true}); (want == 0) != slices.ContainsFunc(all, func(w Weakness) bool { return strings.Contains(fmt.Sprint(w), stopped+"=true") }) {
			t.Errorf("%s: it is weak for %+v", stopped, all)
		}
		b.Settings[stopped] = "false"
		if got, why := b.TimerAhead(); got == 0 {
			t.Errorf("%s is not set: %q", stopped, why)
		}
	}
	if got, why := (BrokerConfig{Err: errors.New("no")}).TimerAhead(); got != 0 || why == "" {
		t.Errorf("of a broker that does not answer: %v, %q", got, why)
	}
}

// What is not known, or not waited for, is not durable.
func TestDurable(t *testing.T) {
	sound := map[string]string{"flushDiskType": "SYNC_FLUSH", "brokerRole": "SYNC_MASTER", "inSyncReplicas": "2"}
	for _, c := range []struct {
		change map[string]string
		want   string // why not
	}{
		{nil, ""},
		{map[string]string{"inSyncReplicas": ""}, ""}, // 4.x: it waits for one
		{map[string]string{"flushDiskType": "ASYNC_FLUSH"}, "before a message is on its disk"},
		{map[string]string{"brokerRole": "ASYNC_MASTER"}, "before a slave has the message (brokerRole=ASYNC_MASTER)"},
		{map[string]string{"inSyncReplicas": "1"}, "before a slave has the message (inSyncReplicas=1"},
		{map[string]string{"enableAutoInSyncReplicas": "true", "minInSyncReplicas": "1"}, "waits for no slave where none is there"},
		{map[string]string{"enableAutoInSyncReplicas": "true", "minInSyncReplicas": "2"}, ""},
		{map[string]string{"flushDiskType": ""}, "does not tell its flushDiskType"},
		{map[string]string{"brokerRole": ""}, "does not tell its brokerRole"},
	} {
		b := BrokerConfig{Name: "broker-a", Settings: maps.Clone(sound)}
		maps.Copy(b.Settings, c.change)
		if ok, why := b.Durable(); ok != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("%v: %v %q, want %q", c.change, ok, why, c.want)
		}
	}
	if ok, why := (BrokerConfig{Name: "broker-a", Err: errors.New("no answer")}).Durable(); ok || !strings.Contains(why, "no answer") {
		t.Errorf("%v %q", ok, why)
	}
}

func TestReadMasters(t *testing.T) {
	got, err := readMasters([]byte(`{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:10921"},"brokerName":"broker-a"},` +
		`"no-master":{"brokerAddrs":{1:"[::1]:10931"}}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}`))
	if err != nil || len(got) != 1 || got["broker-a"] != "127.0.0.1:10911" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := readMasters([]byte("{")); err == nil {
		t.Error("half an answer was read")
	}
}
