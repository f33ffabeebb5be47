package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Make, check and show a configuration",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConfigInit(), newConfigValidate(), newConfigShow())
	return c
}

func newConfigInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init [FILE]",
		Short:   "Write a configuration with every key, its default and what it means",
		Example: "  sidecar config init remora.yaml",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := fmt.Fprint(c.OutOrStdout(), config.Sample)
				return err
			}
			return writeSample(c, args[0])
		},
	}
}

// writeSample never writes over a file.
func writeSample(c *cobra.Command, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitFailed, "%s is there already; name another file", path)
	}
	if err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	_, err = f.WriteString(config.Sample)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "wrote %s; change what is marked \"write\", then: sidecar check -c %s\n", path, path)
	return nil
}

func newConfigValidate() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:     "validate",
		Short:   "Say everything that is wrong with a configuration",
		Example: "  sidecar config validate -c remora.yaml",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			if err != nil {
				return err
			}
			for _, w := range l.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "note:", w)
			}
			fmt.Fprintln(c.OutOrStdout(), "the configuration is valid")
			return nil
		},
	}
	s.register(c)
	return c
}

func newConfigShow() *cobra.Command {
	var s settings
	var origin bool
	output := format{value: "table", known: []string{"table", "json"}}
	c := &cobra.Command{
		Use:     "show",
		Short:   "Print every key with the value in effect",
		Example: "  sidecar config show -c remora.yaml --origin",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			if err != nil {
				return err
			}
			return showSettings(c, l.Settings(), origin, output.value)
		},
	}
	s.register(c)
	c.Flags().BoolVar(&origin, "origin", false, "print where each value was written")
	c.Flags().VarP(&output, "output", "o", "table or json")
	return c
}

func showSettings(c *cobra.Command, all []config.Setting, origin bool, output string) error {
	if output == "json" {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, one := range all {
		line := one.Path + "\t" + one.Value
		if origin {
			line += "\t" + one.Origin
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}
