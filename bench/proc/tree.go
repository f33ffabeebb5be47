package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tree is a process and all that descends from it, as of one look. Those that
// end during the look may be missed or counted twice, until the next one.
type tree []stat

// readTree looks through all processes, for none knows its children.
func readTree(root int) (tree, error) {
	first, err := readStat(root)
	if err != nil {
		return nil, err
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]stat{}
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		switch s, err := readStat(pid); {
		case err == nil:
			children[s.parent] = append(children[s.parent], s)
		case !gone(err):
			return nil, err
		}
	}
	t := tree{first}
	for i := 0; i < len(t); i++ {
		t = append(t, children[t[i].pid]...)
	}
	return t, nil
}

// cpu counts those too that have ended and been waited for.
func (t tree) cpu() (sum time.Duration) {
	for _, s := range t {
		sum += s.own + s.waited
	}
	return sum
}

// sum adds a figure up over those that still have it. One that ends hands what
// it wrote on to its parent (wait4 in kernel/exit.c adds up the accounts).
func (t tree) sum(read func(pid int) (int64, error)) (sum int64, err error) {
	for _, s := range t {
		if s.zombie {
			continue
		}
		switch n, err := read(s.pid); {
		case err == nil:
			sum += n
		case !gone(err) || s.pid == t[0].pid:
			return 0, err
		}
	}
	return sum, nil
}

// gone is of a process that ended meanwhile.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, errNoLine)
}

// stat is what proc_pid_stat(5) says.
type stat struct {
	pid, parent int
	zombie      bool          // it has ended, and nobody has waited for it
	own         time.Duration // processor time, user and system
	waited      time.Duration // that of ended children
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("read processor time: %w", err)
	}
	s, err := parseStat(string(text))
	s.pid = pid
	return s, err
}

// tick is USER_HZ: 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// parseStat reads the state, field 3, the parent, field 4, and the times, fields
// 14 to 17, in ticks of 10 ms. The second field is a name that may hold anything.
func parseStat(text string) (s stat, err error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return s, fmt.Errorf("read processor time: %q is not a process's stat", text)
	}
	var n [5]int64 // parent, utime, stime, cutime, cstime
	for i, at := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return s, fmt.Errorf("read processor time: %w", err)
		}
	}
	return stat{
		parent: int(n[0]),
		zombie: fields[0] == "Z",
		own:    time.Duration(n[1]+n[2]) * tick,
		waited: time.Duration(n[3]+n[4]) * tick,
	}, nil
}
