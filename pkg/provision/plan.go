package provision

import (
	"context"
	"fmt"
)

// Plan is a list of steps in order, including those that need no change.
type Plan struct {
	// For is the object of the plan.
	For string `json:"for"`
	// Warnings are problems that the steps do not fix.
	Warnings []string `json:"warnings,omitempty"`
	Steps    []Step   `json:"steps"`
}

// Step is one change, or an object that needs no change.
type Step struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"`
	// Name is the ARN of an object in IAM, or namespace/name of one in the cluster.
	Name string `json:"name"`
	// Details are the properties that the object has after the step.
	Details []string `json:"details,omitempty"`
	State   State    `json:"state"`

	do func(context.Context) error
}

// Action is the kind of change of a step.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
)

// State is the progress of a step.
type State string

// The states of a step.
const (
	// Unchanged is the state of a step that needs no change.
	Unchanged State = "unchanged"
	// Pending is the state of a step that has not run yet.
	Pending State = "needed"
	Done    State = "done"
	Failed  State = "failed"
)

// The kinds of objects that steps change.
const (
	kindProvider       = "OIDC provider"
	kindNamespace      = "namespace"
	kindRole           = "role"
	kindAttachment     = "policy attachment"
	kindServiceAccount = "ServiceAccount"
)

// String returns the action, the kind and the name.
func (s Step) String() string {
	return string(s.Action) + " " + s.Kind + " " + s.Name
}

// Changes returns the number of pending steps.
func (p *Plan) Changes() int {
	changes := 0
	for _, step := range p.Steps {
		if step.State == Pending {
			changes++
		}
	}
	return changes
}

// Apply runs the pending steps in order, and calls report after each of them. It returns
// an error at the first step that fails. It does not roll back: a new plan continues with
// the remaining steps.
func (p *Plan) Apply(ctx context.Context, report func(Step)) error {
	for i := range p.Steps {
		step := &p.Steps[i]
		if step.State != Pending {
			continue
		}
		err := step.do(ctx)
		if err != nil {
			step.State = Failed
			report(*step)
			return fmt.Errorf("%s: %w; completed steps are kept: fix the error and run the command again to continue", step, awsError(err))
		}
		step.State = Done
		report(*step)
	}
	return nil
}

func (p *Plan) warn(format string, arguments ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, arguments...))
}

// addUnchanged adds a step that needs no change.
func (p *Plan) addUnchanged(action Action, kind, name string, details ...string) {
	p.Steps = append(p.Steps, Step{Action: action, Kind: kind, Name: name, Details: details, State: Unchanged})
}

// addChange adds a pending step, which do runs.
func (p *Plan) addChange(action Action, kind, name string, details []string, do func(context.Context) error) {
	p.Steps = append(p.Steps, Step{Action: action, Kind: kind, Name: name, Details: details, State: Pending, do: do})
}
