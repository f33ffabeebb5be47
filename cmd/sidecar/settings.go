package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// settings are the flags that say which configuration is meant.
type settings struct {
	file string
	set  []string
}

func (s *settings) register(c *cobra.Command) {
	c.Flags().StringVarP(&s.file, "config", "c", "", "YAML file; without it only the environment and --set count")
	c.Flags().StringArrayVar(&s.set, "set", nil, "override a key, as log.level=debug (repeatable)")
}

// load reads the configuration. A limit that was left out fits the volume.
func (s *settings) load() (*config.Loaded, error) {
	l, err := config.Load(config.Sources{File: s.file, Env: os.Environ(), Set: s.set})
	if problems := (config.Problems)(nil); errors.As(err, &problems) {
		return l, fail(exitUsage, "the configuration is wrong:\n%w", err)
	}
	if err != nil {
		return l, coded{exitUsage, err}
	}
	if l.Origin("spool.limit").Layer == config.LayerDefault {
		if l.Spool.Limit, err = sidecar.DefaultLimit(l.Spool.Dir); err != nil {
			return l, err
		}
	}
	return l, nil
}
