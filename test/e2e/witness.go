package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// witness asks Redis itself for the marks of messages.
type witness struct{ client *goredis.Client }

func newWitness(t *testing.T, s *server.Server) *witness {
	t.Helper()
	w := &witness{goredis.NewClient(&goredis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: time.Second})}
	t.Cleanup(func() {
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// recorded reports whether the message is marked done for the group; known is false
// where Redis does not answer.
func (w *witness) recorded(topic, id string) (is, known bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	hash := dedupe.Key{Scope: nameServer() + "/" + topic + "/" + groupOf(topic), Key: "id:" + id}.Hash()
	done, err := w.client.HGet(ctx, "remora:dedupe:"+hex.EncodeToString(hash[:]), "done").Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return false, false
	}
	return done != "", true
}

// groupOf is the group that consumes a topic.
func groupOf(topic string) string { return topic + "-app" }
