package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// pkg is what the rules look at: a package by its path below the module, and
// the imports of its files that are not tests.
type pkg struct {
	name    string
	imports []string
}

// unhoused names packages that have no room.
func unhoused(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		if _, ok := roomOf(p.name); !ok {
			wrong = append(wrong, fmt.Sprintf(
				"%s has no room: add it to floors or apart in internal/archtest/rooms_test.go", p.name))
		}
	}
	return wrong
}

// upward names imports that do not go down.
func upward(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		from, ok := roomOf(p.name)
		if !ok || from.apart {
			continue
		}
		for _, imported := range p.imports {
			if reason := refuse(from, imported); reason != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", p.name, imported, reason))
			}
		}
	}
	return wrong
}

func refuse(from room, imported string) string {
	name, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return ""
	}
	to, ok := roomOf(name)
	switch {
	case !ok:
		return "it has no room"
	case to.apart:
		return "it is no part of the product"
	case to.floor > from.floor:
		return "it lives on a higher floor"
	case to.floor == from.floor:
		return "it lives on the same floor"
	}
	return ""
}

// escaped names imports of confined libraries from outside their rooms.
func escaped(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		if at, ok := roomOf(p.name); ok && at.apart {
			continue
		}
		for _, imported := range p.imports {
			if rooms, bound := boundTo(imported); bound && !slices.Contains(rooms, p.name) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which is confined to %v", p.name, imported, rooms))
			}
		}
	}
	return wrong
}

func boundTo(imported string) (rooms []string, bound bool) {
	for prefix, rooms := range confined {
		if within(imported, prefix) {
			return rooms, true
		}
	}
	return nil, false
}
