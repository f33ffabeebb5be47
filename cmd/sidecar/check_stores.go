package main

import (
	"context"
	"maps"
	"slices"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// lookAtStores asks the dedupe stores that sidecars share how they keep marks.
func lookAtStores(ctx context.Context, f *findings, l *config.Loaded) {
	const section = "dedupe"
	stores, err := sidecar.OpenShared(l.Config) //nolint:contextcheck // they live until Close
	if err != nil {
		f.badf(section, "correct the file, or the key that names it", "%v", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		lookAtStore(ctx, f, name, stores[name])
	}
}

func lookAtStore(ctx context.Context, f *findings, name string, store sidecar.SharedStore) {
	const section = "dedupe"
	defer func() { _ = store.Close() }() // only its connections
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	weak, err := store.Inspect(ctx)
	if err != nil {
		f.badf(section, "start it, or correct what dedupe."+name+" names; until then messages wait, or are handled without a look-up (on_error)", "%s: %v", name, err)
		return
	}
	for _, w := range weak {
		f.warnf(section, w.Hint, "%s", w.Text)
	}
	if len(weak) == 0 {
		f.okf(section, "%s keeps every mark that it has answered for", name)
	}
}
