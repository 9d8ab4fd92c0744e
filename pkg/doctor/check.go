package doctor

import (
	"context"
	"fmt"
)

// Code names a check. It is stable.
type Code string

// check looks at one thing. It may use what the checks before it have found.
type check struct {
	code Code
	link Step
	// needs are those without which it has nothing to look at.
	needs           []Code
	inspectEndpoint func(context.Context, *checkState) Finding
}

// runChecks makes the checks, in order.
func runChecks(ctx context.Context, checks []check, x *checkState) []Finding {
	findings := make([]Finding, 0, len(checks))
	for _, c := range checks {
		finding := c.run(ctx, x)
		finding.Check, finding.Step, finding.Object = c.code, c.link, x.object
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
			return Finding{Status: Skipped, Summary: fmt.Sprintf("not looked at: %s is %s", needed, status)}
		case Skipped:
			return Finding{Status: Skipped, Summary: fmt.Sprintf("not looked at: %s was not", needed)}
		default:
		}
	}
	if err := ctx.Err(); err != nil {
		return newFinding(Unknown, "not looked at: %v", err)
	}
	return c.inspectEndpoint(ctx, x)
}
