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

// The values of -only.
const (
	onlyFootprint = "footprint"
	onlyLive      = "live"
)

// scaleOptions are the flags of scale.
type scaleOptions struct {
	sizes       []int // numbers of ServiceAccounts, ascending
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
	flags.Func("sizes", "comma-separated `list` of numbers of ServiceAccounts (default 1000,10000,100000)", func(value string) (err error) {
		o.sizes, err = parseSizes(value)
		return err
	})
	flags.IntVar(&o.starts, "starts", 3, "number of starts of the webhook at each size")
	flags.DurationVar(&o.idle, "idle", time.Minute, "idle time after the last start")
	flags.DurationVar(&o.duration, "for", 20*time.Second, "duration of pod creations, to measure live reads")
	flags.StringVar(&o.only, "only", "", "measure only the `part` footprint or live")
	flags.StringVar(&o.plots, "plots", "", "`directory` for plots of memory and starts")
	flags.Func("env", "`NAME=value` to add to the environment of the webhook's Deployment; can be repeated", func(value string) error {
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
		return scaleOptions{}, fmt.Errorf("unexpected arguments %q", flags.Args())
	case o.starts < 1 || o.idle <= 0 || o.duration <= 0:
		return scaleOptions{}, errors.New("-starts, -idle and -for must be above 0")
	case !slices.Contains([]string{"", onlyFootprint, onlyLive}, o.only):
		return scaleOptions{}, fmt.Errorf("-only=%s: want %s or %s", o.only, onlyFootprint, onlyLive)
	case o.plots != "" && (o.only == onlyLive || len(o.sizes) < 2):
		return scaleOptions{}, errors.New("-plots needs two or more sizes and cannot be used with -only=live")
	}
	return o, nil
}

// parseSizes returns the numbers of a comma-separated list, in ascending order.
func parseSizes(list string) ([]int, error) {
	var sizes []int
	for item := range strings.SplitSeq(list, ",") {
		size, err := strconv.Atoi(item)
		if err != nil || size < 1 {
			return nil, fmt.Errorf("%q is not a number above 0", item)
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
	// The last of two variables with the same name wins.
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

// pause waits for the duration. It returns the error of ctx if that ends before.
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
