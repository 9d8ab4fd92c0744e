package main

import (
	"context"
	"fmt"
	"io"

	"github.com/fatih/color"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

// planOutput is the output of a plan with -o json and -o yaml.
type planOutput struct {
	*provision.Plan
	// Approved reports whether the plan was applied.
	Approved bool `json:"approved"`
	// Error is the error if a step failed.
	Error string `json:"error,omitempty"`
}

// printPlan prints a plan, and applies it if it is approved. Text output shows each step
// when it is done. JSON and YAML are printed at the end. It returns an error if a step fails.
func (o *options) printPlan(ctx context.Context, plan *provision.Plan, approved bool) error {
	if o.output != "" {
		result := planOutput{Plan: plan, Approved: approved}
		var failed error
		if approved {
			failed = plan.Apply(ctx, func(provision.Step) {})
		}
		if failed != nil {
			result.Error = failed.Error()
		}
		if err := o.print(result, nil); err != nil {
			return err
		}
		return failed
	}
	o.writePlan(o.Out, plan)
	switch {
	case plan.Changes() == 0:
		fmt.Fprintln(o.Out, "Nothing to do.")
		return nil
	case !approved:
		fmt.Fprintf(o.Out, "%s to make. Nothing is changed yet; run the command again with --approve%s.\n", changes(plan.Changes()), o.dryRunHint())
		return nil
	}
	err := plan.Apply(ctx, func(step provision.Step) {
		if step.State == provision.Done {
			fmt.Fprintf(o.Out, "%s %s %s\n", pastTense(step.Action), step.Kind, step.Name)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(o.Out, "Done.")
	return nil
}

func (o *options) dryRunHint() string {
	if o.dryRun {
		return " and without --dry-run"
	}
	return ""
}

func changes(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

func pastTense(action provision.Action) string { return string(action) + "d" }

func (o *options) writePlan(out io.Writer, plan *provision.Plan) {
	fmt.Fprintf(out, "Plan: %s\n\n", plan.For)
	for _, step := range plan.Steps {
		mark, paint := o.mark(step)
		fmt.Fprintf(out, "  %s %s %s\n", paint(mark), step.Kind, step.Name)
		for _, detail := range step.Details {
			fmt.Fprintf(out, "      %s\n", printable(detail))
		}
	}
	fmt.Fprintln(out)
	for _, warning := range plan.Warnings {
		fmt.Fprintf(out, "%s %s\n", o.colorize(color.FgYellow)("Warning:"), printable(warning))
	}
	if len(plan.Warnings) > 0 {
		fmt.Fprintln(out)
	}
}

// mark returns the character for a step and its color.
func (o *options) mark(step provision.Step) (mark string, paint func(...any) string) {
	if step.State == provision.Unchanged {
		return "=", fmt.Sprint
	}
	switch step.Action {
	case provision.Create:
		return "+", o.colorize(color.FgGreen)
	case provision.Delete:
		return "-", o.colorize(color.FgRed)
	default:
		return "~", o.colorize(color.FgYellow)
	}
}
