package examples

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/server"
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

// parcels is what the example of order and payment says.
var parcels = []string{"order-1 was paid", "order-2 was paid", "order-4 was paid", "order-3 was cancelled", "three parcels"}

// play runs an example, which ends otherwise than with 0 unless everything came as
// it says, with more in its environment. It has to say this.
func play(t *testing.T, say, environment []string, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = root, append(append(os.Environ(), "SIDECAR="+sidecar(t)), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	for _, want := range say {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// Every paid order makes one parcel, through a shop that forgets to commit and a
// sidecar that is killed; a cancelled one makes none.
func TestOrderAndPaymentInPython(t *testing.T) {
	play(t, parcels, nil, "python3", "examples/order-and-payment/python/run.py")
}

// The same, with a PostgreSQL that somebody else runs.
func TestOrderAndPaymentInPHP(t *testing.T) {
	db := server.Postgres(t)
	play(t, parcels, []string{fmt.Sprintf("DATABASE=pgsql:host=127.0.0.1;port=%s;dbname=postgres;user=remora", db.Port())},
		"php", "examples/order-and-payment/php/run.php")
}

// The same by the one command alone, which brings a PostgreSQL of its own.
func TestOrderAndPaymentInPHPByItself(t *testing.T) {
	play(t, parcels, []string{"DATABASE="}, "php", "examples/order-and-payment/php/run.php")
}

// Each order that was written makes one message, through a relay that is killed between
// the post of a row and its deletion, and a sidecar that is killed.
func TestOutbox(t *testing.T) {
	play(t, []string{
		"order-3 is rolled back", "the relay was killed between the post of row 2 and its deletion", "the sidecar knew it again",
		"its row is kept", "order-4 was written while the sidecar was dead", "three messages were stored",
	}, nil, "python3", "examples/outbox/run.py")
}
