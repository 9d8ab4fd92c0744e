package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Status is the result of a check.
type Status string

// The statuses.
const (
	// OK means that there is no fault.
	OK Status = "ok"
	// Warning means that there may be a fault.
	Warning Status = "warning"
	// Broken means that pods do not get the credentials of the role.
	Broken Status = "broken"
	// Unknown means that the check could not run, because of missing permissions or
	// because a service did not respond.
	Unknown Status = "unknown"
	// Skipped means that the check did not run, because an earlier check failed or the
	// user excluded it.
	Skipped Status = "skipped"
)

// weight returns the severity of a status: a higher number is more severe.
func (s Status) weight() int {
	return slices.Index([]Status{Skipped, OK, Warning, Unknown, Broken}, s)
}

// Step is a step from a ServiceAccount to AWS credentials.
type Step string

// The steps, in their order.
const (
	StepServiceAccount Step = "ServiceAccount"
	StepWebhook        Step = "Webhook"
	StepPod            Step = "Pod"
	StepIssuer         Step = "Issuer"
	StepIAM            Step = "IAM"
	StepSTS            Step = "STS"
)

// Finding is the result of one check.
type Finding struct {
	Check Code `json:"check"`
	Step  Step `json:"step"`
	// Object is the checked pod as pod/NAME. It is empty for checks of other objects.
	Object string `json:"object,omitempty"`
	Status Status `json:"status"`
	// Summary is the result in one line, Why the details.
	Summary string `json:"summary"`
	Why     string `json:"why,omitempty"`
	// Fix is a command that fixes the fault, or empty.
	Fix string `json:"fix,omitempty"`
	// Evidence is the list of checked values.
	Evidence []EvidenceItem `json:"evidence,omitempty"`
}

// EvidenceItem is a checked value. It is never secret.
type EvidenceItem struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newFinding(status Status, format string, args ...any) Finding {
	return Finding{Status: status, Summary: fmt.Sprintf(format, args...)}
}

func (f Finding) withReason(format string, args ...any) Finding {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

func (f Finding) withFix(format string, args ...any) Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// withEvidence adds an item of evidence, unless its value is empty.
func (f Finding) withEvidence(name, value string) Finding {
	if value != "" {
		f.Evidence = append(slices.Clip(f.Evidence), EvidenceItem{name, value})
	}
	return f
}

// Worst returns the most severe status of the findings. It ignores skipped findings and
// returns OK if no findings are left.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		worst = worse(worst, f.Status)
	}
	return worst
}

func worse(a, b Status) Status {
	if cmp.Compare(a.weight(), b.weight()) < 0 {
		return b
	}
	return a
}

// Report is the diagnosis of a ServiceAccount, with one pod or all of its pods.
type Report struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// Pod is the name of the requested pod, or empty for a ServiceAccount.
	Pod string `json:"pod,omitempty"`
	// Pods is the number of checked pods.
	Pods int `json:"pods"`
	// PodsUnreadable is true if the pods could not be read.
	PodsUnreadable bool `json:"podsUnreadable,omitempty"`
	// Role is the ARN of the role. It is empty if there is none or it is unknown.
	Role     string    `json:"role,omitempty"`
	Status   Status    `json:"status"`
	Findings []Finding `json:"findings"`
}

// ClusterReport is the diagnosis of all ServiceAccounts that have an identity.
type ClusterReport struct {
	Status Status `json:"status"`
	// Findings are the results that all ServiceAccounts share.
	Findings        []Finding `json:"findings"`
	ServiceAccounts []Report  `json:"serviceAccounts"`
}
