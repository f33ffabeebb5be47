package examples

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// sidecar builds the program.
func sidecar(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sidecar")
	build := exec.Command("go", "build", "-o", program, "./cmd/sidecar")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the sidecar: %v\n%s", err, out)
	}
	return program
}

// play runs an example, which ends otherwise than with 0 unless everything came as
// it says, and returns what it printed.
func play(t *testing.T, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "SIDECAR="+sidecar(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Every paid order makes one parcel, through a shop that forgets to commit and a
// sidecar that is killed; a cancelled one makes none.
func TestOrderAndPaymentInPython(t *testing.T) {
	out := play(t, "python3", "examples/order-and-payment/python/run.py")
	for _, want := range []string{"order-1 was paid", "order-2 was paid", "order-4 was paid", "order-3 was cancelled", "three parcels"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}
