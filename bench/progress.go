package main

import (
	"fmt"
	"os"
)

// progressf says what is being done; the page alone goes to standard output.
func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
