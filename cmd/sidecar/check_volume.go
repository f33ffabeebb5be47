package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

func lookAtVolume(f *findings, l *config.Loaded) {
	const section = "spool"
	dir := l.Spool.Dir
	if err := sidecar.Usable(dir); err != nil {
		f.badf(section, "", "%v", err)
		return
	}
	volume, err := sidecar.VolumeOf(dir)
	if err != nil {
		f.badf(section, "make the directory, or choose another spool.dir", "%v", err)
		return
	}
	lookAtFilesystem(f, dir, volume)
	lookAtSpace(f, l)
	took, err := syncTimes(dir)
	if err != nil {
		f.badf(section, "give the directory to the user that runs the sidecar, or choose another spool.dir", "%s cannot be written: %v", dir, err)
		return
	}
	median, worst := took[len(took)/2], took[len(took)-1]
	text := fmt.Sprintf("4 KiB and a sync take %s (worst of %d: %s)", round(median), len(took), round(worst))
	if median > 50*time.Millisecond {
		f.warnf(section, "each accept waits for a sync; put the spool on a faster disk", "%s", text)
		return
	}
	f.okf(section, "%s", text)
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func lookAtFilesystem(f *findings, dir string, v sidecar.Volume) {
	switch {
	case v.Survives == "process":
		f.warnf("spool", "it is lost with the container, the pod or the power: use a disk or a persistent volume",
			"%s is on %s: what is accepted survives only the process", dir, v.Filesystem)
	case !v.Durable:
		f.warnf("spool", "power loss is tested on ext4 and XFS only",
			"%s is on %s: what is accepted survives the node's restart if that honours sync", dir, v.Filesystem)
	default:
		f.okf("spool", "%s is on %s: what is accepted survives the node's restart", dir, v.Filesystem)
	}
}

func lookAtSpace(f *findings, l *config.Loaded) {
	var st unix.Statfs_t
	if err := unix.Statfs(sidecar.Existing(l.Spool.Dir), &st); err != nil {
		f.badf("spool", "make the directory, or choose another spool.dir", "free space is not known: %v", err)
		return
	}
	free := config.Size(st.Bavail) * config.Size(st.Bsize)
	want := l.Spool.Limit + l.Spool.Limit/2
	if free < want {
		f.warnf("spool", "free space, or lower spool.limit; the volume wants 1.5 times of it", "%s are free, and spool.limit is %s", inMiB(free), inMiB(l.Spool.Limit))
		return
	}
	f.okf("spool", "%s are free for a spool.limit of %s", inMiB(free), inMiB(l.Spool.Limit))
}

func inMiB(s config.Size) string { return fmt.Sprintf("%d MiB", s/config.MiB) }

// syncTimes measures appends of 4 KiB with a sync each, sorted.
func syncTimes(dir string) (took []time.Duration, err error) {
	file, err := os.CreateTemp(sidecar.Existing(dir), ".remora-check-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, 4096)
	for range 20 {
		began := time.Now()
		if _, err := file.Write(page); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}
