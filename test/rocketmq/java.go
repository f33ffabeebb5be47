package rocketmq

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed logback.xml
var logback []byte

// program is a Java main class with what it needs of the machine.
type program struct {
	lib  string // folder of jars
	home string // everything it writes
	jvm  []string
	main string
	args []string
}

// prepare makes the folder. RocketMQ takes the first rmq.logback.xml on the
// class path, and otherwise a configuration that fills the standard output.
func (p program) prepare() error {
	if err := os.MkdirAll(p.home, 0o777); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.home, "rmq.logback.xml"), logback, 0o666)
}

// command leaves the start to the caller.
func (p program) command(out io.Writer) *exec.Cmd {
	args := slices.Concat([]string{
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xss512k",
		"-XX:-UsePerfData", // it would write to /tmp/hsperfdata_*
		"-XX:+ExitOnOutOfMemoryError",
		"-XX:ErrorFile=" + filepath.Join(p.home, "hs_err.log"),
		"-Dfile.encoding=UTF-8",
		"-Dtls.server.mode=disabled", // else each start makes a certificate, for two seconds
		"-Duser.home=" + p.home,
		"-Djava.io.tmpdir=" + p.home,
		"-Drocketmq.home.dir=" + p.home,
	}, p.jvm, []string{"-cp", p.home + ":" + filepath.Join(p.lib, "*"), p.main}, p.args)
	cmd := exec.Command("java", args...)
	cmd.Dir = p.home
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd
}

// writeProperties writes sorted key=value lines.
func writeProperties(file string, properties map[string]string) error {
	var lines strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&lines, "%s=%s\n", key, properties[key])
	}
	return os.WriteFile(file, []byte(lines.String()), 0o666)
}
