// Package keyring encrypts what is stored, under keys from a file.
//
// # Promise
//
// A box is what [Ring.Encrypt] makes of some plain bytes and the place at which
// they will lie. [Ring.Decrypt] returns the plain bytes, or an error when any bit
// of the box, or the place, is another. A box names its key, so that boxes of
// older keys can be opened as long as those keys are in the file.
//
// # Construction
//
// AES-256-GCM with a nonce of 192 bits, as XAES-256-GCM (C2SP) defines it: the
// first half of the nonce derives a key, under which the second half is the
// nonce of AES-GCM. Here the first half is drawn once a session: when a ring is
// first used, and again after 2^30 boxes. The second half is drawn for each box.
// Both are random and nothing is counted, so that neither a restart, nor a copied
// volume, nor a copied machine can repeat a nonce by going on from the same state.
//
// Two boxes of one session share a nonce with a probability below 2^-36, two
// sessions a derived key below 2^-32 after 2^32 of them. A ring that is opened
// once a second and used at 100,000 boxes a second stays within that for more
// than a century.
//
// The key in the file is never used itself: what encrypts, and what the key is
// called by, are derived from it (HKDF-SHA256), each for itself.
//
// # Concurrency
//
// All methods may be called from any goroutine.
package keyring
