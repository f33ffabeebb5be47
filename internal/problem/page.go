package problem

import (
	"fmt"
	"strings"
)

// Path returns the type of a problem, which is also where its page is.
func Path(code string) string { return "/problems/" + code }

// Page returns the page of a code as Markdown, "" when there is no such code.
func Page(code string) string {
	k, ok := Lookup(code)
	if !ok {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n", k.Code, k.Title)
	fmt.Fprintf(&b, "- HTTP status: %d\n- retryable: %t%s\n- stored: %s\n", k.Status, k.Retryable, retryNote(k), storedNote(k.Stored)+unlessNote(otherwise[k.Code].Stored))
	if k.Hint != "" {
		fmt.Fprintf(&b, "\n## What to do\n\n%s\n", k.Hint)
	}
	return b.String()
}

// Index returns the list of all codes as Markdown.
func Index() string {
	var b strings.Builder
	b.WriteString("# Problems\n\n| code | status | meaning |\n|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(&b, "| [%s](%s) | %d | %s |\n", k.Code, Path(k.Code), k.Status, k.Title)
	}
	return b.String()
}

func retryNote(k Kind) string {
	if k.Retryable {
		return ", the same request may succeed later" + unlessNote(otherwise[k.Code].Retryable)
	}
	return ", the request has to change first"
}

// otherwise says of a code when a problem has another answer than its kind.
var otherwise = map[string]struct{ Retryable, Stored string }{
	BrokerUnavailable: {
		Retryable: "`false` of a prepare with an `id`, which is used up: prepare another transaction, with another id, or with an Idempotency-Key and no id",
		Stored:    "`unknown` of a prepare whose half message the broker may have; it is rolled back",
	},
	SpoolReadOnly: {
		Stored: "`unknown` where a write failed or did not end in time, or what knows the idempotency key is damaged",
	},
}

func unlessNote(when string) string {
	if when == "" {
		return ""
	}
	return "; " + when
}

func storedNote(s Stored) string {
	switch s {
	case StoredNo:
		return "no, nothing was stored"
	case StoredYes:
		return "yes, the message is held or was confirmed"
	default:
		return "unknown, it may or may not be stored; an idempotency key makes repeating safe"
	}
}
