// Package admin is for operators and orchestrators: the health listener, which
// a kubelet and Prometheus read, and the admin listener with the API that
// console and command line use.
//
// The health listener shows no payloads and changes nothing; it has no Host
// rules, because a kubelet sends the pod's address. The admin listener shares
// the Host and Origin rules of the data listener (internal/httpguard). A call
// that changes something needs the admin token, when one is set.
//
// The console, in ui, is a page of the admin listener that shows what the API tells.
//
// Conditions is the sidecar's own account of its health. Its rule: ready is
// false only while nothing can be accepted (starting, stopping, read-only, a stalled sync).
// A broker or handler that is down, a full spool, a disk that runs low are
// degraded reasons with ready true: otherwise one outage of the broker would
// take every pod out of service.
//
// Server and Conditions are safe for concurrent use. Shutdown waits for all
// running requests.
package admin
