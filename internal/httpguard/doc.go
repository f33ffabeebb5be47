// Package httpguard decides who may talk to a loopback listener. The data and
// the admin listener share its rules; the health listener has none, because a
// kubelet sends the pod's address as Host.
//
// What it keeps out: a web page that reaches loopback under a name of its own
// (DNS rebinding: Host), a web page that posts across origins (CSRF: Origin,
// Sec-Fetch-Site), a caller without the token, and a listener that anyone on
// the network could reach (Exposed).
//
// Rules and Tokens are immutable and safe for concurrent use.
package httpguard
