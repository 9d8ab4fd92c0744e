package doctor

import (
	"context"
	"fmt"
)

// Code is the name of a check. Codes are stable: programs may depend on them.
type Code string

// check checks one thing. It may use the results of earlier checks.
type check struct {
	code Code
	step Step
	// needs are the checks that must not be Broken, Unknown or Skipped.
	needs []Code
	fn    func(context.Context, *checkState) Finding
}

// runChecks runs the checks in order and returns one finding for each.
func runChecks(ctx context.Context, checks []check, x *checkState) []Finding {
	findings := make([]Finding, 0, len(checks))
	for _, c := range checks {
		finding := c.run(ctx, x)
		finding.Check, finding.Step, finding.Object = c.code, c.step, x.object
		finding.Fix = x.Options.Commands.write(finding.Fix)
		x.status[c.code] = finding.Status
		findings = append(findings, finding)
	}
	return findings
}

func (c check) run(ctx context.Context, x *checkState) Finding {
	for _, needed := range c.needs {
		switch status := x.status[needed]; status {
		case Broken, Unknown:
			return Finding{Status: Skipped, Summary: fmt.Sprintf("skipped: check %s is %s", needed, status)}
		case Skipped:
			return Finding{Status: Skipped, Summary: fmt.Sprintf("skipped: check %s was skipped", needed)}
		default:
		}
	}
	if err := ctx.Err(); err != nil {
		return newFinding(Unknown, "check did not run: %v", err)
	}
	return c.fn(ctx, x)
}
