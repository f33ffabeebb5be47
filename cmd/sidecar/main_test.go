package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/ports"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sidecar": main})
}

// Each script of testdata is a session at a shell.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "freeport": freePort, "ready": ready, "listen": listen, "read": read, "untilok": untilok, "untilsays": untilSays, "untilgot": untilGot, "post": post, "crowd": crowd,
		},
	})
}

// crowd ADDRESS opens as many connections as it may, and more than there may be files,
// and publishes what fills some files over the first.
func crowd(ts *testscript.TestScript, _ bool, args []string) {
	var first net.Conn
	for range 1200 {
		c, err := net.Dial("tcp", args[0])
		ts.Check(err)
		defer c.Close()
		if first == nil {
			first = c
			ts.Check(c.SetDeadline(time.Now().Add(time.Minute)))
		}
	}
	answers := bufio.NewReader(first)
	body := strings.Repeat("x", 3<<20)
	for range 20 {
		_, err := fmt.Fprintf(first, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		ts.Check(err)
		res, err := http.ReadResponse(answers, nil)
		ts.Check(err)
		_, err = io.Copy(io.Discard, res.Body)
		ts.Check(errors.Join(err, res.Body.Close()))
		if res.StatusCode != http.StatusAccepted {
			ts.Fatalf("answered %s", res.Status)
		}
	}
}

// exits CODE PROGRAM ARG... runs a program that has to end with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// freeport NAME... sets variables to addresses that nobody else listens on.
func freePort(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		addr, release, err := ports.Claim()
		ts.Check(err)
		ts.Defer(func() { ts.Check(release()) })
		ts.Setenv(name, addr)
	}
}

// listen NAME sets a variable to an address where connections are accepted, and
// ended without a word.
func listen(ts *testscript.TestScript, _ bool, names []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(names[0], ln.Addr().String())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

// ready ADDRESS waits until the sidecar with that health listener is ready.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		if res, err := client.Get("http://" + args[0] + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		<-tick.C
	}
	ts.Fatalf("no sidecar is ready at %s", args[0])
}

// read NAME FILE sets a variable to the first word of a file.
func read(ts *testscript.TestScript, _ bool, args []string) {
	words := strings.Fields(ts.ReadFile(args[1]))
	if len(words) == 0 {
		ts.Fatalf("%s is empty", args[1])
	}
	ts.Setenv(args[0], words[0])
}

// untilSays PATTERN PROGRAM ARG... runs a program until it ends with 0 and prints
// something that matches.
func untilSays(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 1200 {
		if ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		<-tick.C
	}
	ts.Fatalf("%s never says %s", strings.Join(args[1:], " "), args[0])
}

// untilGot URL PATTERN gets a page until it matches.
func untilGot(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 1200 {
		if res, err := client.Get(args[0]); err == nil {
			body, err := io.ReadAll(res.Body)
			if ts.Check(errors.Join(err, res.Body.Close())); pattern.Match(body) {
				return
			}
		}
		<-tick.C
	}
	ts.Fatalf("%s never has %s", args[0], args[1])
}

// post URL BODY sends JSON, which has to be accepted.
func post(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Post(args[0], "application/json", strings.NewReader(args[1]))
	ts.Check(err)
	body, err := io.ReadAll(res.Body)
	ts.Check(errors.Join(err, res.Body.Close()))
	if res.StatusCode/100 != 2 {
		ts.Fatalf("%s: %d %s", args[0], res.StatusCode, body)
	}
}

// untilok PROGRAM ARG... runs a program until it ends with 0: what it asks for
// may have to wait for something.
func untilok(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 1200 {
		if ts.Exec(args[0], args[1:]...) == nil {
			return
		}
		<-tick.C
	}
	ts.Fatalf("%s never ends with 0", strings.Join(args, " "))
}
