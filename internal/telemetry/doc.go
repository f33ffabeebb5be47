// Package telemetry makes the process's logger and its metrics registry.
//
// Promise: a message body never reaches the log. Packages do not log bodies,
// and the logger made here does not print one even if they try: see Redact.
// What it cannot see is a body that was formatted into a string; don't.
//
// Nothing here listens or exports; the health listener serves the registry.
// Loggers and registries are safe for concurrent use.
package telemetry
