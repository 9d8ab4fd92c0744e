package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parts of scale, of which one can be asked for alone.
const (
	onlyFootprint = "footprint"
	onlyLive      = "live"
)

// scaleOptions are what scale is told.
type scaleOptions struct {
	sizes       []int // how many ServiceAccounts, rising
	starts      int
	idle        time.Duration
	duration    time.Duration
	only        string
	plots       string
	environment []string
}

func parseScaleOptions(args []string) (scaleOptions, error) {
	o := scaleOptions{sizes: []int{1000, 10_000, 100_000}}
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.Func("sizes", "how many ServiceAccounts there are, a `list` with commas (default 1000,10000,100000)", func(value string) (err error) {
		o.sizes, err = parseSizes(value)
		return err
	})
	flags.IntVar(&o.starts, "starts", 3, "how often the webhook is started at each size")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long nothing happens after the last of them")
	flags.DurationVar(&o.duration, "for", 20*time.Second, "how long pods are created, to measure live reads")
	flags.StringVar(&o.only, "only", "", "measure only the `part` footprint or live")
	flags.StringVar(&o.plots, "plots", "", "`directory` to draw memory and starts in")
	flags.Func("env", "`NAME=value` in the webhook's environment, beside that of its deployment; more than once for more", func(value string) error {
		if name, _, ok := strings.Cut(value, "="); !ok || name == "" {
			return errors.New("want NAME=value")
		}
		o.environment = append(o.environment, value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return scaleOptions{}, err
	}
	switch {
	case flags.NArg() > 0:
		return scaleOptions{}, fmt.Errorf("%q is no flag", flags.Args())
	case o.starts < 1 || o.idle <= 0 || o.duration <= 0:
		return scaleOptions{}, errors.New("-starts, -idle and -for must be above 0")
	case !slices.Contains([]string{"", onlyFootprint, onlyLive}, o.only):
		return scaleOptions{}, fmt.Errorf("-only=%s: want %s or %s", o.only, onlyFootprint, onlyLive)
	case o.plots != "" && (o.only == onlyLive || len(o.sizes) < 2):
		return scaleOptions{}, errors.New("-plots draws memory and starts at two sizes or more: give those, and not -only=live")
	}
	return o, nil
}

// parseSizes returns the numbers of a list with commas, rising.
func parseSizes(list string) ([]int, error) {
	var sizes []int
	for item := range strings.SplitSeq(list, ",") {
		size, err := strconv.Atoi(item)
		if err != nil || size < 1 {
			return nil, fmt.Errorf("%q is no number above 0", item)
		}
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

func scale(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseScaleOptions(args)
	if err != nil {
		return err
	}
	machine, err := thisMachine()
	if err != nil {
		return err
	}
	environment, err := deployedEnvironment()
	if err != nil {
		return err
	}
	// Of a variable that is there twice the last counts.
	environment = append(environment, o.environment...)
	if o.only != onlyLive {
		footprints, err := measureFootprints(ctx, o, environment, progress)
		if err != nil {
			return err
		}
		writeFootprints(out, machine, environment, footprints)
		if o.plots != "" {
			if err := plotFootprints(o.plots, machine, footprints); err != nil {
				return err
			}
		}
	}
	if o.only == "" {
		fmt.Fprintln(out)
	}
	if o.only != onlyFootprint {
		loads, err := measureLive(ctx, o.duration, environment, progress)
		if err != nil {
			return err
		}
		writeLive(out, machine, o.duration, loads)
	}
	return nil
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
