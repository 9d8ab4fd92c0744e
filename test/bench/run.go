package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// options are the flags of run.
type options struct {
	rounds    int
	duration  time.Duration
	reference string
	plots     string
	json      bool
	record    bool
	compare   bool
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "number of measurements of each server, in turns")
	flags.DurationVar(&o.duration, "for", 3*time.Second, "duration of each measurement")
	flags.StringVar(&o.reference, "reference", "", "binary `file` of amazon-eks-pod-identity-webhook, to measure it too")
	flags.StringVar(&o.plots, "plots", "", "`directory` for a plot of the latencies")
	flags.BoolVar(&o.json, "json", false, "print JSON with all rounds instead of the table")
	flags.BoolVar(&o.record, "record", false, "write the ratios to test/bench/recorded.json")
	flags.BoolVar(&o.compare, "compare", false, "fail if a ratio is more than 20 % worse than in test/bench/recorded.json, or if a goal is missed")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("unexpected arguments %q", flags.Args())
	case o.rounds < 1 || o.duration <= 0:
		return options{}, errors.New("-rounds and -for must be above 0")
	case o.record && o.compare:
		return options{}, errors.New("-record and -compare exclude each other")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	var before baseline
	if o.compare { // fail before the measurement, which takes minutes
		if before, err = readBaseline(recordedFile()); err != nil {
			return err
		}
	}
	machine, err := thisMachine()
	if err != nil {
		return err
	}
	candidates, rounds, creations, err := measureAll(ctx, o, progress)
	if err != nil {
		return err
	}

	measured := newReport(machine, candidates, rounds)
	measured.Creations = creations
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(measured)
	} else {
		measured.writeTable(out)
		writeCreations(out, o.duration, creations)
	}
	if err != nil {
		return err
	}
	if o.plots != "" {
		if err := plotLatencies(o.plots, machine, candidates, rounds); err != nil {
			return err
		}
	}
	missed := checkGoals(progress, measured.goals())
	if o.record {
		return newBaseline(measured).write(recordedFile())
	}
	if o.compare {
		return errors.Join(missed, compare(progress, before, newBaseline(measured)))
	}
	return nil
}

// measureAll measures the candidates in turns, with a control plane, and then the creation
// of pods. It returns the rounds by the name of the candidate.
func measureAll(ctx context.Context, o options, progress io.Writer) (candidates []benchTarget, rounds map[string][]round, creations []creation, err error) {
	recorded, err := loadReviews()
	if err != nil {
		return nil, nil, nil, err
	}
	environment, err := deployedEnvironment()
	if err != nil {
		return nil, nil, nil, err
	}
	cluster, dir, remove, err := startControlPlane(ctx, progress)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := createAccounts(ctx, cluster, recorded); err != nil {
		return nil, nil, nil, err
	}
	config, err := webhookprocess.ChartConfig(ctx, cluster)
	if err != nil {
		return nil, nil, nil, err
	}
	kubeconfig := filepath.Join(dir, "webhook.kubeconfig")
	if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
		return nil, nil, nil, err
	}
	candidates = newCandidates(config, kubeconfig, environment, o.reference)
	rounds = map[string][]round{}
	for n := range o.rounds {
		for i := range candidates {
			// Each round starts with another candidate.
			c := candidates[(n+i)%len(candidates)]
			measured, err := c.measure(ctx, recorded, o.duration)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("measure %s: %w", c.name, err)
			}
			rounds[c.name] = append(rounds[c.name], measured)
			fmt.Fprintf(progress, "round %d of %d, %s: %d admissions\n", n+1, o.rounds, c.name, len(measured.latencies))
		}
	}
	creations, err = measureCreation(ctx, cluster, o, environment, progress)
	return candidates, rounds, creations, err
}
