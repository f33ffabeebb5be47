package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"
)

// choice is the value of a flag that says which messages a command means, or whose. Given
// and empty, as by a variable of a script that is not set, it must not stand for all.
type choice struct{ text *string }

var errNothingChosen = errors.New("give it a value, or leave the flag out")

// choose registers such a flag. What text holds is its default.
func choose(c *cobra.Command, text *string, name, usage string) {
	c.Flags().Var(choice{text}, name, usage)
}

// Set is called for each time that the flag is given.
func (v choice) Set(text string) error {
	if text == "" {
		return errNothingChosen
	}
	*v.text = text
	return nil
}

// Type is what help calls the value.
func (v choice) Type() string { return "string" }

func (v choice) String() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// named refuses empty arguments of a command and those below it: none is a name or an ID.
func named(c *cobra.Command) *cobra.Command {
	c.PersistentPreRunE = func(c *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return fail(exitUsage, "an argument is empty; see '%s --help'", c.CommandPath())
		}
		return nil
	}
	return c
}
