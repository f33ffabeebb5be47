// Package reread keeps what files hold, and reads them again when they may have
// changed, so that a secret that is replaced needs no restart.
package reread
