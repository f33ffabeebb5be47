package httpguard

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// Tokens are the bearer tokens that are valid now: usually one, two while one
// replaces the other. None means that no token is asked for.
type Tokens struct {
	sums [][sha256.Size]byte // hashed, so that a comparison does not tell the length
}

// NewTokens returns the set of tokens; empty ones are left out.
func NewTokens(tokens []string) *Tokens {
	t := &Tokens{}
	for _, token := range tokens {
		if token != "" {
			t.sums = append(t.sums, sha256.Sum256([]byte(token)))
		}
	}
	return t
}

// Required reports whether a caller has to show a token.
func (t *Tokens) Required() bool { return len(t.sums) > 0 }

// Check returns nil when no token is asked for, or the Authorization header
// carries a valid one. It takes the same time for every wrong token.
func (t *Tokens) Check(authorization string) *problem.Problem {
	if !t.Required() {
		return nil
	}
	scheme, token, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return problem.New(problem.Unauthorized, "the request has no bearer token")
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	match := 0
	for _, valid := range t.sums {
		match |= subtle.ConstantTimeCompare(sum[:], valid[:])
	}
	if match != 1 {
		return problem.New(problem.Unauthorized, "the bearer token is not valid")
	}
	return nil
}
