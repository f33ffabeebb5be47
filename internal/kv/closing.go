package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// closingName is the manifest as it was when Badger began to close, from then on
// until the last compaction was judged. A closing Badger gives no iterators, and
// still flushes and compacts: what is made meanwhile nothing holds, so that a
// compaction of it could not be taken back by itself. But all that was in use is
// held, logs included, and nobody writes any more. So where there is this file
// all that came after it is taken back as one, and done again.
const closingName = "MANIFEST.closing"

// beforeClose holds what is in use, and then notes the manifest: whatever was in
// use is in it by then. What is in it and was not yet in use may be gone when it
// is needed; what that was made from is not (takeBack, withoutUnused).
func (c *compactions) beforeClose() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold()
	c.closing = true
	if err := c.dir.keepClosing(); err != nil {
		return StorageError(fmt.Errorf("note what is in use: %w", err))
	}
	return nil
}

// closed judges the last compactions, when none runs any more, and lets go of
// everything. One that cannot be judged fails it: the next start takes it back.
func (c *compactions) closed() error {
	c.mu.Lock()
	clear(c.running)
	_, err := c.judge(0)
	if err == nil {
		err = c.postponed
	}
	if err != nil {
		c.mu.Unlock()
		c.stop(err)
		return err
	}
	free := c.held
	c.held = nil
	c.mu.Unlock()
	if err := c.dir.forgetManifests(); err != nil {
		return StorageError(fmt.Errorf("forget what was in use: %w", err))
	}
	c.after(free, nil)
	return c.manifest.close()
}

func (d *directory) keepClosing() error {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err != nil {
		return err
	}
	sets, err := d.history(data, true)
	if err != nil {
		return err
	}
	return d.replace(closingName, join(data[:manifestHeader], sets))
}

// lastManifest reads the manifest for which all tables and logs are there.
func (d *directory) lastManifest() (data []byte, closing bool, err error) {
	data, err = os.ReadFile(filepath.Join(d.path, closingName))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
		return data, false, err
	}
	if err == nil && len(data) < manifestHeader {
		err = fmt.Errorf("%w: %s has no header", ErrDamaged, closingName)
	}
	if err == nil {
		err = d.forget(earlierName) // it holds what was in that, too
	}
	if err == nil {
		data, err = d.withoutUnused(data)
	}
	return data, true, err
}

// withoutUnused leaves out the last flush, if its table is gone: then it was not
// in use when the log was held.
func (d *directory) withoutUnused(data []byte) ([]byte, error) {
	sets, err := changeSets(data)
	if err != nil {
		return nil, err
	}
	missing := d.missing(sets)
	for n, s := range slices.Backward(sets) {
		if created, deleted := s.count(); created != 1 || deleted > 0 {
			continue // a compaction, or what a manifest began with
		}
		if s.creates(missing) {
			sets = slices.Delete(sets, n, n+1)
		}
		break
	}
	return join(data[:manifestHeader], sets), nil
}

// forgetManifests removes the manifests beside Badger's, durably: from here on
// they tell of files that may be gone.
func (d *directory) forgetManifests() error {
	if err := errors.Join(d.forget(closingName), d.forget(earlierName)); err != nil {
		return err
	}
	return d.file.Sync()
}

func (d *directory) forget(name string) error {
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
