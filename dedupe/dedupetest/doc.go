// Package dedupetest is the suite that every dedupe store passes.
package dedupetest
