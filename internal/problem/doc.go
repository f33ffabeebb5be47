// Package problem is the one list of what an HTTP listener may refuse, and the
// document it refuses with: application/problem+json of RFC 9457, with the
// members of the HTTP contract (code, retryable, stored, hint, limit,
// retry_after_ms).
//
// The table in kinds.go maps a code to its status, title, hint and answer to
// "is it stored?". Listeners choose a code and say in detail what happened;
// they never choose a status. Every code has a page (Page), which the sidecar
// serves at the document's type, /problems/{code}.
//
// The package holds no state; a Problem belongs to the goroutine that made it.
package problem
