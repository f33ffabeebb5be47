package sidecar

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// Stats is the answer of GET /v1/spool: what the spool holds, in messages and in
// blocks of the disk.
type Stats struct {
	Spool  *SpoolStatus    `json:"spool"`
	Ledger spool.Counts    `json:"ledger"`
	Topics int             `json:"topics"`
	Known  spool.Known     `json:"known"`
	Marks  Marks           `json:"dedupe"`
	Kept   spool.Retained  `json:"retained"` // confirmed messages, for a resend
	Disk   map[string]Disk `json:"disk"`     // by kind of file, and "total"
}

// Disk is what files take.
type Disk struct {
	Files     int   `json:"files"`
	Bytes     int64 `json:"bytes"`     // lengths
	Allocated int64 `json:"allocated"` // bytes of blocks: what counts, since files are sparse
}

// kinds of files, by how their names end. What is damaged lies in a folder.
var kinds = []struct{ suffix, kind string }{
	{".mem", "logs"}, {".sst", "tables"}, {".vlog", "value_logs"}, {"ballast", "ballast"},
}

func kindOf(path string) string {
	if strings.Contains(path, "quarantine") {
		return "quarantine"
	}
	for _, k := range kinds {
		if strings.HasSuffix(strings.ToLower(path), k.suffix) {
			return k.kind
		}
	}
	return "other"
}

func (s *Sidecar) stats(ctx context.Context) (any, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, problem.New(problem.Starting, "the spool is not open yet")
	}
	disk, err := measure(ctx, s.cfg.Spool.Dir)
	if err != nil {
		return nil, err
	}
	marks, err := s.marks()
	if err != nil {
		return nil, err
	}
	ledger := sp.Ledger()
	out := Stats{Spool: s.spoolStatus(sp), Ledger: ledger.Total, Topics: len(ledger.Topics), Known: sp.Known(), Marks: marks, Kept: sp.Retained(), Disk: disk}
	if s.offline { // opened without bounds: those that are configured hold when it runs
		o := s.configured("")
		out.Known.ReceiptsMax, out.Known.ReceiptsLimit, out.Known.DedupeMaxBytes, out.Kept.Limit = o.ReceiptsMax, o.ReceiptsLimit, o.DedupeLimit, o.RetainBytes
	}
	return out, nil
}

// measure adds up the files below dir, without those of the embedded broker. One
// that goes meanwhile does not count.
func measure(ctx context.Context, dir string) (map[string]Disk, error) {
	disk := map[string]Disk{"total": {}}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if path == filepath.Join(dir, "embedded") {
			return fs.SkipDir
		}
		if err := errors.Join(err, ctx.Err()); err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		for _, kind := range []string{kindOf(relative), "total"} {
			disk[kind] = disk[kind].with(info)
		}
		return err
	})
	return disk, err
}

func (d Disk) with(info fs.FileInfo) Disk {
	d.Files++
	d.Bytes += info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		d.Allocated += st.Blocks * 512
	}
	return d
}
