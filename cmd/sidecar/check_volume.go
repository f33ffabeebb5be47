package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/volume"
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
	lookAtKeys(f, l.Spool.EncryptionKeyFile)
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

// lookAtKeys reads the key file. Which keys the spool needs, its opening tells.
func lookAtKeys(f *findings, path string) {
	if path == "" {
		return
	}
	keys, err := keyring.Read(path)
	if err != nil {
		f.badf("spool", "write the current key into the first line, and older ones below it until nothing needs them", "spool.encryption_key_file: %v", err)
		return
	}
	f.okf("spool", "messages are encrypted with key %s", keys.Current())
	for _, older := range keys.IDs()[1:] {
		f.okf("spool", "key %s is older, and read as well", older)
	}
}

func lookAtSpace(f *findings, l *config.Loaded) {
	space, err := volume.SpaceOf(volume.Existing(l.Spool.Dir))
	if err != nil {
		f.badf("spool", "make the directory, or choose another spool.dir", "free space is not known: %v", err)
		return
	}
	c, err := sidecar.CapacityOf(l.Spool, space)
	if err != nil {
		f.badf("spool", "give the spool a larger volume", "%v", err)
		return
	}
	text := fmt.Sprintf("the volume has %s, %s free; the limit is %s, of which %s are for messages and %s ballast; %s of the volume stay free",
		size(c.Volume), size(space.Free), size(c.Limit), size(c.Messages), size(c.Ballast), size(c.Reserve))
	taken, err := volume.Allocated(filepath.Join(l.Spool.Dir, "spool"))
	switch lacks := c.Limit + c.Reserve - taken - space.Free; {
	case err != nil:
		f.badf("spool", "give the directory to the user that runs the sidecar", "%v", err)
	case space.Free < c.Reserve:
		f.warnf("spool", "free space: nothing is accepted until then (503 disk-low)", "%s", text)
	case lacks > 0:
		f.warnf("spool", fmt.Sprintf("free %s, or lower spool.limit by as much: others fill the volume, and nothing is accepted when less than the reserve is free (503 disk-low)", size(lacks)), "%s", text)
	default:
		f.okf("spool", "%s", text)
	}
}

// syncTimes measures appends of 4 KiB with a sync each, sorted.
func syncTimes(dir string) (took []time.Duration, err error) {
	file, err := os.CreateTemp(volume.Existing(dir), ".remora-check-*")
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
