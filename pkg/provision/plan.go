package provision

import (
	"context"
	"fmt"
)

// Plan is what has to be done, in order, and what of it is so already.
type Plan struct {
	// For says what the plan is about.
	For string `json:"for"`
	// Warnings are what the steps do not mend.
	Warnings []string `json:"warnings,omitempty"`
	Steps    []Step   `json:"steps"`
}

// Step is one thing that must be so.
type Step struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"`
	// Name is the ARN of what is in IAM, namespace/name of what is in the cluster.
	Name string `json:"name"`
	// Details say what it will be like, or what it is like and stays.
	Details []string `json:"details,omitempty"`
	State   State    `json:"state"`

	do func(context.Context) error
}

// Action is what a step does.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
)

// State says how far a step is.
type State string

// The states of a step.
const (
	// Unchanged says that it was so before.
	Unchanged State = "unchanged"
	// Pending says that it is to be done.
	Pending State = "needed"
	Done    State = "done"
	Failed  State = "failed"
)

// The kinds of what steps are about.
const (
	kindProvider       = "OIDC provider"
	kindRole           = "role"
	kindAttachment     = "policy attachment"
	kindServiceAccount = "ServiceAccount"
)

// String says it as an order.
func (s Step) String() string {
	return string(s.Action) + " " + s.Kind + " " + s.Name
}

// Changes counts the steps that are to be done.
func (p *Plan) Changes() int {
	changes := 0
	for _, step := range p.Steps {
		if step.State == Pending {
			changes++
		}
	}
	return changes
}

// Apply does what is needed, in order, and tells of each step once it is over.
// It stops at the first that fails, and takes nothing back: a plan that is made
// anew goes on from there.
func (p *Plan) Apply(ctx context.Context, tell func(Step)) error {
	for i := range p.Steps {
		step := &p.Steps[i]
		if step.State != Pending {
			continue
		}
		err := step.do(ctx)
		if err != nil {
			step.State = Failed
			tell(*step)
			return fmt.Errorf("%s: %w; completed steps are kept: fix the error and run the command again to continue", step, awsError(err))
		}
		step.State = Done
		tell(*step)
	}
	return nil
}

func (p *Plan) warn(format string, arguments ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, arguments...))
}

// addUnchanged adds what is so already.
func (p *Plan) addUnchanged(action Action, kind, name string, details ...string) {
	p.Steps = append(p.Steps, Step{Action: action, Kind: kind, Name: name, Details: details, State: Unchanged})
}

// addChange adds what is to be done, and how.
func (p *Plan) addChange(action Action, kind, name string, details []string, do func(context.Context) error) {
	p.Steps = append(p.Steps, Step{Action: action, Kind: kind, Name: name, Details: details, State: Pending, do: do})
}
