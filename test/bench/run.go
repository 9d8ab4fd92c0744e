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

// options are what run is told.
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
	flags.IntVar(&o.rounds, "rounds", 5, "how often each server is measured, by turns")
	flags.DurationVar(&o.duration, "for", 3*time.Second, "how long each time")
	flags.StringVar(&o.reference, "reference", "", "amazon-eks-pod-identity-webhook's binary, a `file`, to measure that too")
	flags.StringVar(&o.plots, "plots", "", "`directory` to draw the latencies in")
	flags.BoolVar(&o.json, "json", false, "print JSON, with every round, in place of the table")
	flags.BoolVar(&o.record, "record", false, "write the ratios to test/bench/recorded.json")
	flags.BoolVar(&o.compare, "compare", false, "fail if a ratio is more than 20 % worse than it says there, or a goal of live reads is missed")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("%q is no flag", flags.Args())
	case o.rounds < 1 || o.duration <= 0:
		return options{}, errors.New("-rounds and -for must be above 0")
	case o.record && o.compare:
		return options{}, errors.New("what was just recorded need not be compared: give one of -record and -compare")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	var before baseline
	if o.compare { // known before minutes have passed
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

// measureAll measures the candidates by turns, beside a control plane, and then the
// creation of pods through it. It returns the rounds by the name of the candidate.
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
			// Each time another is the first.
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
