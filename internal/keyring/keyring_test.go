package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	first  = strings.Repeat("1f", keySize)
	second = strings.Repeat("2e", keySize)
)

func ring(t testing.TB, keys ...string) *Ring {
	t.Helper()
	r, err := Parse(strings.Join(keys, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBoxIsBoundToItsBytesAndItsPlace(t *testing.T) {
	r := ring(t, first)
	for _, plain := range []string{"", "x", strings.Repeat("much ", 1000)} {
		box := r.Encrypt([]byte("before"), []byte(plain), []byte("place"))[len("before"):]
		if len(box) != len(plain)+Overhead {
			t.Fatalf("%d bytes became %d", len(plain), len(box))
		}
		if got, err := r.Decrypt(box, []byte("place")); err != nil || string(got) != plain {
			t.Fatalf("%q became %q, %v", plain, got, err)
		}
		if _, err := r.Decrypt(box, []byte("elsewhere")); !errors.Is(err, ErrForged) {
			t.Errorf("at another place: %v", err)
		}
		for i := range min(len(box), 200) {
			b := bytes.Clone(box)
			b[i] ^= 4
			if got, err := r.Decrypt(b, []byte("place")); err == nil {
				t.Errorf("byte %d changed: became %q", i, got)
			}
			if _, err := r.Decrypt(box[:i], []byte("place")); err == nil {
				t.Errorf("cut to %d bytes: opened", i)
			}
		}
	}
}

// The derived key and the cipher are those of XAES-256-GCM: the test vectors
// of C2SP, whose keys stand for what is derived from ours.
func TestConstructionIsXAES256GCM(t *testing.T) {
	for _, v := range []struct{ key, place, plain, want string }{
		{strings.Repeat("01", 32), "", "XAES-256-GCM", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{strings.Repeat("03", 32), "c2sp.org/XAES-256-GCM", "XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		secret, _ := hex.DecodeString(v.key)
		k := &key{block: blockOf(secret)}
		k.mask = subkey(k.block)
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		got := k.derive([half]byte(nonce[:half])).aead.Seal(nil, nonce[half:], []byte(v.plain), []byte(v.place))
		if hex.EncodeToString(got) != v.want {
			t.Errorf("key %s…: %x, want %s", v.key[:4], got, v.want)
		}
	}
}

// What is on disk must stay readable: a box of a known key, made once.
func TestBoxIsPinned(t *testing.T) {
	const box = "c4151155c18011180b0f01ca9aa1b2dc8ecdbe8998ef97623e76eab17718b75b409e36a79d3373e3d1e74400f4239fbacd"
	b, err := hex.DecodeString(box)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring(t, first).Decrypt(b, []byte("place")); err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOlderKeysOpenAndTheFirstEncrypts(t *testing.T) {
	old := ring(t, first)
	box := old.Encrypt(nil, []byte("x"), nil)
	both := ring(t, second, first)
	if got, err := both.Decrypt(box, nil); err != nil || string(got) != "x" {
		t.Fatalf("%q, %v", got, err)
	}
	fresh := both.Encrypt(nil, []byte("y"), nil)
	if id, _ := IDOf(fresh); id != both.Current() || id != ring(t, second).Current() {
		t.Errorf("encrypted under %s, the first key is %s", id, both.Current())
	}
	missing := &MissingError{}
	if _, err := old.Decrypt(fresh, nil); !errors.As(err, &missing) || missing.ID != both.Current() {
		t.Errorf("without its key: %v", err)
	}
	if !slices.Equal(both.IDs(), []ID{both.Current(), old.Current()}) {
		t.Errorf("%v", both.IDs())
	}
}

func TestNoNonceComesTwice(t *testing.T) {
	seen := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 { // each an opening
		r := ring(t, first)
		for range 4 {
			all.Go(func() {
				for range 2000 {
					box := r.Encrypt(nil, nil, nil)
					mu.Lock()
					seen[string(box[len(ID{}):][:nonceSize])] = true
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	if len(seen) != 4*4*2000 {
		t.Errorf("%d boxes have %d nonces", 4*4*2000, len(seen))
	}
}

func TestSessionIsRenewed(t *testing.T) {
	r := ring(t, first)
	before := r.Encrypt(nil, []byte("x"), nil)
	r.session.Load().used.Store(sessionBoxes - 1)
	last, after := r.Encrypt(nil, []byte("x"), nil), r.Encrypt(nil, []byte("x"), nil)
	prefix := func(box []byte) string { return string(box[len(ID{}):][:half]) }
	if prefix(before) != prefix(last) || prefix(last) == prefix(after) {
		t.Error("a session ends elsewhere than at its bound")
	}
	for _, box := range [][]byte{before, last, after, before} {
		if _, err := r.Decrypt(box, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestFileOfKeys(t *testing.T) {
	raw, _ := hex.DecodeString(second)
	r := ring(t, "# from the vault", "", first+"  # until March", base64.StdEncoding.EncodeToString(raw)+"\r", "")
	if len(r.IDs()) != 2 || r.Current() != ring(t, first).Current() || r.IDs()[1] != ring(t, second).Current() {
		t.Errorf("%v", r.IDs())
	}
	many := make([]string, maxKeys+1)
	for i := range many {
		many[i] = strings.Repeat(hex.EncodeToString([]byte{byte(i + 1)}), keySize)
	}
	for _, tc := range []struct{ name, text, says string }{
		{"empty", "\n# none\n", "no key"},
		{"short", first[2:], "line 1"},
		{"long", first + "\n" + second + "00", "line 2"},
		{"raw bytes", string(raw), "line 1"},
		{"twice", first + "\n" + strings.ToUpper(first), "repeats"},
		{"too many", strings.Join(many, "\n"), "17 keys"},
	} {
		_, err := Parse(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want one that says %q", tc.name, err, tc.says)
		}
		if err != nil && (strings.Contains(err.Error(), "1f1f") || strings.Contains(err.Error(), "2e2e")) {
			t.Errorf("%s: the error shows a key: %v", tc.name, err)
		}
	}
	if _, err := Read(t.TempDir() + "/none"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestNoRing(t *testing.T) {
	var none *Ring
	if none.Current() != (ID{}) || none.IDs() != nil {
		t.Error("no ring has keys")
	}
	if _, err := none.Decrypt(ring(t, first).Encrypt(nil, nil, nil), nil); !errors.As(err, new(*MissingError)) {
		t.Error(err)
	}
}

func FuzzDecrypt(f *testing.F) {
	r := ring(f, first, second)
	f.Add(r.Encrypt(nil, []byte("plain"), []byte("place")), []byte("place"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, b, place []byte) {
		if plain, err := r.Decrypt(b, place); err == nil && !bytes.Equal(place, []byte("place")) {
			t.Fatalf("%x was opened as %q at %q", b, plain, place)
		}
		box := r.Encrypt(nil, b, place)
		if plain, err := r.Decrypt(box, place); err != nil || !bytes.Equal(plain, b) {
			t.Fatalf("%x became %x, %v", b, plain, err)
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	r := ring(b, first)
	plain, dst := make([]byte, 1024), make([]byte, 0, 2048)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		dst = r.Encrypt(dst[:0], plain, plain[:14])
	}
}
