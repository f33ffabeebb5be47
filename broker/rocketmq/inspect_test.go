package rocketmq

import (
	"encoding/json"
	"sync"
	"testing"
)

// One broker that hangs does not keep the others from being asked: what they say of
// themselves is known in the time that there is for all.
func TestBrokersAreAskedAtOnce(t *testing.T) {
	asked := make(chan struct{})
	tell := func(command) *command { return &command{body: []byte("brokerRole=SYNC_MASTER\n")} }
	first := serve(t, func(c command) *command {
		<-asked // the other one
		return tell(c)
	})
	once := sync.OnceFunc(func() { close(asked) })
	t.Cleanup(once)
	second := serve(t, func(c command) *command {
		once()
		return tell(c)
	})
	names := serve(t, func(command) *command {
		table := map[string]any{}
		for name, s := range map[string]*fakeServer{"a": first, "b": second} {
			table[name] = map[string]any{"brokerAddrs": map[string]string{masterID: s.addr}}
		}
		body, err := json.Marshal(map[string]any{"brokerAddrTable": table})
		if err != nil {
			t.Error(err)
		}
		return &command{body: body}
	})
	n := namesOf(t, names.addr)
	all, err := (&Inspector{n, n.remoting}).Brokers(t.Context())
	must(t, err)
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Fatalf("got %+v", all)
	}
	for _, b := range all {
		if b.Err != nil || b.Settings["brokerRole"] != "SYNC_MASTER" {
			t.Errorf("%s says %v, %v", b.Name, b.Settings, b.Err)
		}
	}
}
