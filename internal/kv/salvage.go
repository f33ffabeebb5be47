package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// salvage moves the database to a fresh directory that holds all that can be
// read, under the same keys, and puts the damaged one into the quarantine. After
// an unclean stop it first takes back the compactions that may not have been
// judged: what they did not write is in their old tables alone. Then:
//
//  1. every block of every table and every log is read;
//  2. the fresh directory, beside the old one, gets the tables that are whole
//     and logs without what is broken;
//  3. Badger opens it, takes in what can be read of the broken tables wherever
//     there is nothing newer, and closes it, so that all of it is synced;
//  4. the directories change places, in one rename;
//  5. the old one moves to the quarantine.
//
// Until 4 nothing else of the old directory is changed, and after a crash all of it
// is done again; a crash after 4 leaves 5 to the next start.
func (db *DB) salvage(ctx context.Context, why error, unclean bool) error {
	db.log.Error("database is damaged: salvaging what can be read", "dir", db.dir.path, "error", why)
	if unclean {
		if err := db.takeBackDamaged(); err != nil {
			return err
		}
	}
	found, err := db.dir.inspect(true, db.opts.Magic)
	if err != nil {
		return err
	}
	if len(found.found) == 0 && !errors.Is(why, errDied) {
		found.findf(".", 0, 0, "%v", why)
	}
	fresh, err := db.newDirectory(ctx)
	if err != nil {
		return fmt.Errorf("make a fresh directory: %w", err)
	}
	report, err := db.refill(ctx, fresh, found)
	if err != nil {
		return errors.Join(err, fresh.close(), os.RemoveAll(fresh.path))
	}
	return db.replaceBy(fresh, report, found)
}

// takeBackDamaged takes compactions back if there is a manifest that can be
// read. Without one, all tables that are there are live.
func (db *DB) takeBackDamaged() error {
	exists, err := db.dir.checkManifest(db.opts.Magic)
	if err == nil && exists {
		err = db.dir.rewriteManifest(db.log, true)
	}
	if errors.Is(err, ErrDamaged) {
		return nil // inspect tells
	}
	return err
}

// refill brings into the fresh directory what can be read of the old one.
func (db *DB) refill(ctx context.Context, fresh *directory, found *inspection) (*Damage, error) {
	report, err := db.dir.damage()
	if err != nil {
		return nil, err
	}
	size, err := db.dir.recoverySize()
	if err != nil {
		return nil, err
	}
	lost, err := db.copyLogs(fresh, found)
	if err != nil {
		return nil, fmt.Errorf("copy logs: %w", err)
	}
	if err := db.copyTables(fresh, found); err != nil {
		return nil, fmt.Errorf("copy tables: %w", err)
	}
	sealed := newSeals()
	reached, restored, err := db.restore(ctx, fresh, found, size, sealed)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	report.At = time.Now().UTC().Format(time.RFC3339)
	report.Found = append(report.Found, found.found...)
	slices.SortFunc(lost, func(a, b CommitRange) int { return cmp.Compare(a.First, b.First) })
	report.Lost = append(report.Lost, lost...)
	report.Restored += restored
	h, err := fresh.createHead(head{
		epoch: found.head.epoch, highWater: reached, magic: formatOf(db.opts.Magic), secret: sealed.secret, note: found.head.note,
	})
	if err != nil {
		return nil, err
	}
	return report, h.file.Close()
}

// copyLogs writes the logs without what is broken, and without those that are in
// tables if all of these are whole: they would bring back what was deleted since.
// From a broken table they may have what is broken in it.
func (db *DB) copyLogs(fresh *directory, found *inspection) ([]CommitRange, error) {
	s := salvagedLogs{sealed: found.sealed, last: found.reach.last(), version: found.reach.version, most: found.most(), acked: found.head.highWater}
	for _, log := range found.logs {
		err := db.dir.readFile(log.name, func(data []byte, _ []Finding) error { s.see(data); return nil })
		if err != nil {
			return nil, err
		}
	}
	for _, log := range found.logs {
		if found.tablesWhole() && found.inTables(log) {
			continue
		}
		err := db.dir.readFile(log.name, func(data []byte, _ []Finding) error {
			s.mend(data, db.opts.Owner, found.last)
			return writeFile(filepath.Join(fresh.path, log.name), s.clean(s.withoutTorn(data)))
		})
		if err != nil {
			return nil, err
		}
	}
	if !found.reach.uncertain() {
		s.skipTo(s.acked + 1)
	}
	return s.lost, nil
}

// copyTables takes over the tables that are whole, and writes a manifest that
// names them alone.
func (db *DB) copyTables(fresh *directory, found *inspection) error {
	var set pb.ManifestChangeSet
	for _, t := range found.tables {
		if t.broken {
			continue
		}
		if err := takeOver(filepath.Join(db.dir.path, t.name()), filepath.Join(fresh.path, t.name())); err != nil {
			return err
		}
		set.Changes = append(set.Changes, &pb.ManifestChange{Id: t.id, Op: pb.ManifestChange_CREATE, Level: t.level})
	}
	raw, err := encodeChanges(&set)
	if err != nil {
		return err
	}
	return fresh.replace(badger.ManifestFilename, append(manifestHeaderOf(db.opts.Magic), raw...))
}

// takeOver gives a file a second name, or where that is not to be had copies it.
// Nothing may have that name: writing to it would cut off what it is the name of.
func takeOver(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, data)
}

// restore lets Badger replay the logs, adds what the broken tables still tell,
// and closes it again, so that all is in synced tables.
func (db *DB) restore(ctx context.Context, fresh *directory, found *inspection, size int64, sealed *seals) (reached uint64, restored int, err error) {
	opts := db.opts
	opts.Dir = fresh.path
	opts.MemTableSize = max(opts.MemTableSize, size)
	fault := newAlarm(fresh.noteFence)
	b, err := openBadger(opts.uncompacted(&badgerLog{log: db.log, fail: fault.raise}), fresh, fault.raised, fault.cause)
	if err != nil {
		return 0, 0, err
	}
	r := restorer{badger: b, sealed: sealed, owner: opts.Owner, newest: map[string]uint64{}, most: opts.MaxCommit / 2}
	if r.reached, err = lastCommit(b); err == nil {
		err = errors.Join(r.tables(db.dir, found), r.flush())
	}
	err = errors.Join(err, closeBadger(ctx, b.Close, fault.raised, fault.cause))
	if err == nil {
		err = fresh.nothingLeft()
	}
	return r.reached, r.restored, err
}

// restorer writes entries of broken tables as new commits, where nothing newer
// is known of their keys. Their own versions could not be kept: a compaction
// may already have dropped a newer deletion that hid them.
type restorer struct {
	badger   *badger.DB
	reached  uint64 // the number of the last commit
	sealed   *seals
	owner    Owner
	newest   map[string]uint64 // versions of what was restored
	pending  []tableEntry
	bytes    int
	most     int // bytes of a commit
	restored int
}

// tables reads the broken tables, and of those that no manifest names, since
// its end is cut off, what belongs to commits that are gone. The rest of such a
// table is older than the tables that replaced it.
func (r *restorer) tables(d *directory, found *inspection) error {
	named := map[uint64]bool{}
	for _, t := range found.tables {
		named[t.id] = true
		if !t.broken {
			continue
		}
		if err := r.table(d, t, r.take); err != nil {
			return err
		}
	}
	present, err := d.tables()
	if err != nil {
		return err
	}
	for _, t := range present {
		if named[t.id] {
			continue
		}
		if err := r.table(d, t, r.takeFrom(found.gone)); err != nil {
			return err
		}
	}
	return nil
}

// takeFrom takes what may be of the gone commits: their versions begin with one of
// them, or they have that of the last commit before them. Of the same version a
// table has the end, and a log that is cut may not.
func (r *restorer) takeFrom(gone []gap) func(tableEntry) error {
	return func(e tableEntry) error {
		for _, g := range gone {
			if e.version >= g.after && e.version <= g.Last {
				return r.takeUnless(e, func(known uint64) bool { return known > e.version })
			}
		}
		return nil
	}
}

func (r *restorer) table(d *directory, t tableFile, take func(tableEntry) error) error {
	err := d.readFile(t.name(), func(data []byte, _ []Finding) error {
		return tableReader{entry: take, broken: func(int64, int64, error) {}, owner: r.owner}.read(data)
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (r *restorer) take(e tableEntry) error {
	return r.takeUnless(e, func(known uint64) bool { return known >= e.version })
}

// takeUnless takes e unless its key has a version that is new enough, a deletion
// included.
func (r *restorer) takeUnless(e tableEntry, enough func(known uint64) bool) error {
	if hidden(e.key) || e.version <= r.newest[string(e.key)] {
		return nil
	}
	known, err := r.known(e.key)
	if err != nil || known > 0 && enough(known) {
		return err
	}
	cost := len(e.key) + len(e.value) + minTransaction
	if r.bytes+cost > r.most {
		err = r.flush()
	}
	r.newest[string(e.key)] = e.version
	r.pending = append(r.pending, e)
	r.bytes += cost
	r.restored++
	return err
}

// known is the newest version of a key in the database; 0: none. What was restored
// before has a new one; then that which it had was compared above.
func (r *restorer) known(key []byte) (version uint64, err error) {
	if _, ours := r.newest[string(key)]; ours {
		return 0, nil
	}
	txn := r.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewKeyIterator(key, badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	if it.Rewind(); it.Valid() {
		version = it.Item().Version()
	}
	return version, nil
}

// flush commits what is pending.
func (r *restorer) flush() error {
	if len(r.pending) == 0 {
		return nil
	}
	txn := r.badger.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	for _, e := range r.pending {
		var err error
		if e.deleted {
			err = txn.Delete(e.key)
		} else {
			err = txn.Set(e.key, e.value)
		}
		if err != nil {
			return err
		}
	}
	r.pending, r.bytes = nil, 0
	r.reached++
	if err := txn.Set(sealKey, r.sealed.of(r.reached)); err != nil {
		return err
	}
	return commitTxn(txn, r.reached)
}
