package peer

import "testing"

func pg(kind byte, content string) string { return string(appendPG(nil, kind, content)) }

func TestSendWaitsForTheCommit(t *testing.T) {
	const bound, refused = "\x32\x00\x00\x00\x04", "SERROR\x00C53100\x00Mno space left\x00\x00"
	inserted, ready := pg('C', "INSERT 0 1\x00"), pg('Z', "I")
	tests := []struct{ name, say, fail string }{
		{"committed", bound + inserted + ready, ""},
		{"a notice on the way", bound + pg('N', "Mslow\x00\x00") + inserted + ready, ""},
		{"refused", bound + pg('E', refused) + ready, "no space left"},
		{"refused without a text", pg('E', "SERROR\x00\x00") + ready, "without a text"},
		{"refused and closed", pg('E', refused), "no space left"},
		{"nothing inserted", bound + pg('C', "INSERT 0 0\x00") + ready, "without having said"},
		{"not executed", bound + ready, "without having said"},
		{"not committed", bound + inserted + pg('Z', "T"), "without having said"},
		{"not ready", bound + inserted, "EOF"},
		{"cut off", bound + inserted[:8], "EOF"},
		{"no message", "HTTP/1.1 400 Bad Request", "does not begin an answer"},
		{"shorter than its length", "Z\x00\x00\x00\x03", "does not begin an answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newPG(script(t, step{string(appendInsert(nil, []byte("body"))), tt.say}))
			failsWith(t, c.Send([]byte("body")), tt.fail)
		})
	}
}

func TestInsertCarriesTheBodyAsItIs(t *testing.T) {
	const want = "B\x00\x00\x00\x1c\x00insert\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04b\x00dy\x00\x00" +
		"E\x00\x00\x00\x09\x00\x00\x00\x00\x00" + "S\x00\x00\x00\x04"
	if got := appendInsert(nil, []byte("b\x00dy")); string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestGreetAndPrepare(t *testing.T) {
	const hello = "\x00\x00\x00\x26\x00\x03\x00\x00user\x00bench\x00database\x00postgres\x00\x00"
	c := newPG(script(t,
		step{hello, pg('R', "\x00\x00\x00\x00") + pg('S', "server_version\x0015.1\x00") + pg('Z', "I")},
		step{pg('P', insert+"\x00\x01\x00\x00\x00\x11") + pg('S', ""), pg('1', "") + pg('Z', "I")},
		step{pg('Q', "CHECKPOINT\x00"), pg('E', "Mnot now\x00\x00") + pg('Z', "I")},
	))
	if err := c.greet(); err != nil {
		t.Fatal(err)
	}
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	failsWith(t, c.do("CHECKPOINT"), "not now")
}

func TestPasswordIsNotGuessed(t *testing.T) {
	c := newPG(script(t, step{"", pg('R', "\x00\x00\x00\x0a")}))
	failsWith(t, c.finish(""), "password")
}
