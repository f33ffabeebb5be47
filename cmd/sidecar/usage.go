package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/remora-mq/remora/config"
)

// usageArgs makes a complaint about arguments a usage error, which shows how the command
// is called.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := check(c, args)
		switch {
		case err == nil:
			return nil
		case c.HasAvailableSubCommands() && len(args) > 0:
			return unknownCommand(c, args[0])
		case strings.HasPrefix(err.Error(), "unknown command"): // what cobra calls an argument of a command that takes none
			return fail(exitUsage, "%q takes no arguments, and got %q; see '%[1]s --help'", c.CommandPath(), args)
		}
		return fail(exitUsage, "%w: write %s; see '%s --help'", err, strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath())
	}
}

// unknownCommand says which commands the name comes close to.
func unknownCommand(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2 // by default only "unknown command" of cobra itself has one
	meant := ""
	if near := c.SuggestionsFor(name); len(near) > 0 {
		meant = fmt.Sprintf("; did you mean %s?", strings.Join(near, ", or "))
	}
	return fail(exitUsage, "unknown command %q for %q%s; see '%[2]s --help'", name, c.CommandPath(), meant)
}

// badFlag says what is wrong with a flag, or, where the flag is unknown because the
// command before it is, with that.
func badFlag(c *cobra.Command, err error) error {
	if before := c.Flags().Args(); c.HasAvailableSubCommands() && len(before) > 0 {
		return unknownCommand(c, before[0])
	}
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
		err = fmt.Errorf("--%s is %q: %s", bad.GetFlag().Name, bad.GetValue(), wrongValue(bad))
	}
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		err = fmt.Errorf("%w%s", err, flagMeant(c, unknown))
	}
	return fail(exitUsage, "%w; see '%s --help'", err, c.CommandPath())
}

// flagMeant says which flag the name comes close to. One of several letters behind one
// dash is meant as a name, too.
func flagMeant(c *cobra.Command, unknown *pflag.NotExistError) string {
	typed := cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName())
	typed, _, _ = strings.Cut(typed, "=")
	if len(typed) < 2 {
		return ""
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := config.Nearest(typed, names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}

// wrongValue says what the value of a flag has to be, rather than what Go could not parse.
func wrongValue(bad *pflag.InvalidValueError) string {
	if bad.GetFlag().Value.Type() == "duration" {
		return "write a duration with its unit, as 90s, 15m or 24h"
	}
	if numeric := (*strconv.NumError)(nil); !errors.As(bad, &numeric) {
		return bad.Unwrap().Error()
	}
	if bad.GetFlag().Value.Type() == "bool" {
		return "write true or false"
	}
	return "write a whole number"
}

// newHelp is cobra's help, which says nothing of a command that it does not know.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil {
				return fail(exitUsage, "%w", err)
			}
			if len(rest) > 0 && about.HasAvailableSubCommands() {
				return unknownCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag() // as its own --help does
			return about.Help()
		},
	}
}
