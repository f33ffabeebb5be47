package rocketmq

import (
	"reflect"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// These imitate the library's structs: a promoted field that points to a global.
type (
	TCPOption     struct{ KeepAliveDuration, ConnectionTimeout, ReadTimeout, WriteTimeout int64 }
	clientConfig  struct{ TCPOption }
	ClientOptions struct{ RemotingClientConfig *clientConfig }
	options       struct{ ClientOptions }
)

var someTimeouts = producerTimeouts(5 * time.Second)

func TestTimeoutsAreSetOnACopy(t *testing.T) {
	global := &clientConfig{TCPOption{1, 2, 3, 4}}
	o := options{ClientOptions{global}}
	if err := someTimeouts.set(reflect.ValueOf(&o).Elem()); err != nil {
		t.Fatal(err)
	}
	want := TCPOption{1, int64(someTimeouts.connect), int64(someTimeouts.read), int64(someTimeouts.write)}
	if got := o.RemotingClientConfig.TCPOption; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if global.TCPOption != (TCPOption{1, 2, 3, 4}) {
		t.Errorf("the global was changed: %+v", global.TCPOption)
	}
}

func TestTimeoutsOfAnotherLibraryAreAnError(t *testing.T) {
	for _, o := range []any{
		&struct{ Other int }{}, &struct{ RemotingClientConfig *clientConfig }{},
		&struct{ RemotingClientConfig *struct{ ReadTimeout string } }{&struct{ ReadTimeout string }{}},
	} {
		if someTimeouts.set(reflect.ValueOf(o).Elem()) == nil {
			t.Errorf("%T: no error", o)
		}
	}
}

// With the real types, and before use it says that it was not applied.
func TestTCPOptionFitsTheLibrary(t *testing.T) {
	forProducer, applied := tcpOption[producer.Option](someTimeouts)
	if applied() == nil {
		t.Error("an option that was not applied says that it was")
	}
	if _, err := producer.NewDefaultProducer(producer.WithNameServer([]string{"http://x:1"}), forProducer); err != nil || applied() != nil {
		t.Errorf("producer: %v, %v", err, applied())
	}
	forConsumer, applied := tcpOption[consumer.Option](consumerTimeouts)
	if _, err := consumer.NewPushConsumer(consumer.WithNameServer([]string{"http://x:1"}), forConsumer,
		consumer.WithInstance(newInstance("test", "tcp"))); err != nil || applied() != nil {
		t.Errorf("consumer: %v, %v", err, applied())
	}
}

// An attempt has time for two dials that fail, of others, and for its own call.
func TestDialsLeaveAnAttemptItsTime(t *testing.T) {
	for attempt, want := range map[time.Duration]time.Duration{
		300 * time.Millisecond: 100 * time.Millisecond, 3 * time.Second: time.Second, time.Minute: maxConnect,
	} {
		if got := producerTimeouts(attempt).connect; got != want {
			t.Errorf("attempts of %v: dials of %v, want %v", attempt, got, want)
		}
	}
}
