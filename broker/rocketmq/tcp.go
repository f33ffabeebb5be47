package rocketmq

import (
	"fmt"
	"reflect"
	"time"
)

// tcpTimeouts replace the library's 15 s, 120 s and 120 s. It dials while it
// holds the lock that every request needs (remote_client.go:151-168), and drops
// a silent connection only after read.
type tcpTimeouts struct{ connect, read, write time.Duration }

// consumerTimeouts: a read must outlast a long poll, which is bounded by 30 s.
var consumerTimeouts = tcpTimeouts{connect: maxConnect, read: 60 * time.Second, write: 5 * time.Second}

const maxConnect = 2 * time.Second

// producerTimeouts leave an attempt that waits in the lock for a dial to a broker
// that is gone, or for two of them, the time to be made all the same: else the
// brokers that are well seem to fail, too.
func producerTimeouts(attempt time.Duration) tcpTimeouts {
	return tcpTimeouts{connect: min(maxConnect, attempt/3), read: 45 * time.Second, write: 5 * time.Second}
}

// tcpOption makes an option, of the producer's or the consumer's type O, that
// gives the client a copy of the global TCP configuration with these timeouts.
// The library has no such option, and the types are internal: hence reflection.
// applied tells afterwards whether it worked.
func tcpOption[O any](t tcpTimeouts) (option O, applied func() error) {
	err := fmt.Errorf("set TCP timeouts: option was not applied")
	fn := reflect.MakeFunc(reflect.TypeFor[O](), func(args []reflect.Value) []reflect.Value {
		err = t.set(args[0].Elem())
		return nil
	})
	reflect.ValueOf(&option).Elem().Set(fn)
	return option, func() error { return err }
}

func (t tcpTimeouts) set(options reflect.Value) error {
	config := options.FieldByName("RemotingClientConfig")
	if !config.IsValid() || config.Kind() != reflect.Pointer || config.IsNil() {
		return fmt.Errorf("set TCP timeouts: this version of rocketmq-client-go has no RemotingClientConfig")
	}
	own := reflect.New(config.Type().Elem())
	own.Elem().Set(config.Elem())
	for name, d := range map[string]time.Duration{
		"ConnectionTimeout": t.connect, "ReadTimeout": t.read, "WriteTimeout": t.write,
	} {
		field := own.Elem().FieldByName(name)
		if !field.IsValid() || field.Kind() != reflect.Int64 {
			return fmt.Errorf("set TCP timeouts: this version of rocketmq-client-go has no %s", name)
		}
		field.SetInt(int64(d))
	}
	config.Set(own)
	return nil
}
