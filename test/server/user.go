package server

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// as gives the folder to the user of a server that refuses to run as root; nil:
// we are not.
func (s *Server) as(name string) *syscall.SysProcAttr {
	s.t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		s.t.Fatalf("%s does not run as root: %v", s.name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		s.t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
		s.t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
