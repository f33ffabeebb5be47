package spool_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// cutting ends a call when it asks the volume for room: before what it brings is queued.
type cutting struct {
	volume

	cut context.CancelFunc
}

func (c *cutting) Refuse(int64) error {
	c.cut()
	return nil
}

// An import that ends before its commit leaves no payloads that are stored apart: done
// again and again, it would fill the volume.
func TestImportThatIsCutLeavesNoPayloads(t *testing.T) {
	for name, fill := range map[string]func(*rig){
		"messages":      func(r *rig) { r.accept(under("k", bulky(draft("t", "1"))), bulky(draft("t", "2"))) },
		"a transaction": func(r *rig) { r.prepare(prepared("tx", bulky(draft("t", "1")), bulky(draft("t", "2")))) },
	} {
		t.Run(name, func(t *testing.T) {
			from := newRig(t, spool.Options{})
			fill(from)
			ctx, cut := context.WithCancel(t.Context())
			to := newRig(t, spool.Options{Space: &cutting{cut: cut}})
			if done, err := to.Import(ctx, bytes.NewReader(from.export(spool.Query{})), false); !errors.Is(err, context.Canceled) || done.Messages != 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			to.Flush()
			if n := len(to.find("sc")); n != 0 {
				t.Errorf("%d parts of payloads are left", n)
			}
			to.balanced()
		})
	}
}

// What is imported is in memory until its commit, so few large messages share one.
func TestImportKeepsFewPayloadsInMemory(t *testing.T) {
	const size = 150 << 10
	from := newRig(t, spool.Options{})
	for range 30 {
		from.accept(draft("t", strings.Repeat("x", size)))
	}
	to := newRig(t, spool.Options{})
	largest := spool.LargestImport(to.Spool)
	if done := to.take(from.export(spool.Query{})); done.Messages != 30 {
		t.Fatalf("%+v", done)
	}
	if n := largest(); n < size || n > 1<<20+size {
		t.Errorf("a commit took %d bytes of payloads", n)
	}
	to.balanced()
}
