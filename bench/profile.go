package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// profiled is a peer whose process has net/http/pprof.
type profiled interface{ ProfileURL() string }

// profileAll plays one more round for those peers that can be profiled. It is
// not counted, because profiling costs.
func profileAll(ctx context.Context, o options, up []*contestant) error {
	if o.profile == "" {
		return nil
	}
	if err := os.MkdirAll(o.profile, 0o755); err != nil {
		return fmt.Errorf("make folder of profiles: %w", err)
	}
	o.measure = max(o.measure, 5*time.Second)
	for _, c := range up {
		p, ok := c.Running.(profiled)
		for _, connections := range o.connections {
			if !ok {
				break
			}
			if err := c.profile(ctx, o, connections, p.ProfileURL()); err != nil {
				return fmt.Errorf("profile %s at %d connections: %w", c.name, connections, err)
			}
		}
	}
	return nil
}

func (c *contestant) profile(ctx context.Context, o options, connections int, url string) error {
	file := filepath.Join(o.profile, fmt.Sprintf("%s-%d", strings.ReplaceAll(c.name, " ", "-"), connections))
	progressf("profiling to %s-*.pprof", file)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := c.turn(ctx, o, connections)
		return err
	})
	group.Go(func() error {
		if err := download(ctx, fmt.Sprintf("%s/profile?seconds=%d", url, int(o.measure.Seconds())), file+"-cpu.pprof"); err != nil {
			return err
		}
		return download(ctx, url+"/heap", file+"-heap.pprof")
	})
	return group.Wait()
}

func download(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	profile, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", res.Status)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, profile, 0o644)
}
